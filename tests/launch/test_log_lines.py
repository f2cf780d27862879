"""A run's log lines: each once, whole, behind its source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.plan.plan import Plan, write_plan
from biodist.run.folder import AttemptFolder, RunFolder
from launch.log_lines import Line, LogTail, RunLogs

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def begin(tmp_path: Path, plan: Callable[..., Plan]) -> Callable[[int], AttemptFolder]:
    """Opens the next attempt of a run of so many ranks, each of which has said two lines."""
    run = RunFolder.prepare(tmp_path / "run")

    def build(world_size: int) -> AttemptFolder:
        attempt = run.new_attempt()
        write_plan(plan(world_size), attempt.plan)
        for rank in range(world_size):
            attempt.log(rank).write_text(f"{attempt.number}.{rank} first\n{attempt.number}.{rank} second\n")
        return attempt

    return build


def shown(logs: RunLogs) -> list[str]:
    return [f"{line.source} {line.text}" for line in logs.new()]


def test_the_newest_attempt_rank_by_rank(begin: Callable[[int], AttemptFolder]) -> None:
    begin(1)
    run = begin(2).run
    assert shown(RunLogs(run)) == ["0 2.0 first", "0 2.0 second", "1 2.1 first", "1 2.1 second"]
    assert shown(RunLogs(run, rank=1, lines=1)) == ["1 2.1 second"]
    assert shown(RunLogs(run, attempt=1)) == ["0 1.0 first", "0 1.0 second"]


def test_it_goes_over_to_the_next_attempt(begin: Callable[[int], AttemptFolder]) -> None:
    first = begin(1)
    opened: list[int] = []
    logs = RunLogs(first.run, lines=1, opened=opened.append)
    assert shown(logs) == ["0 1.0 second"]
    with first.log(0).open("a") as file:
        file.write("late\nunfin")
    assert shown(logs) == ["0 late"] and shown(logs) == []
    begin(2)
    # Of what is new nothing is left out, however few lines were asked for at the start.
    assert shown(logs) == ["0 2.0 first", "0 2.0 second", "1 2.1 first", "1 2.1 second"]
    assert opened == [1, 2] and [line.text for line in logs.rest()] == ["unfin"]
    logs.close()


def test_what_the_job_says(begin: Callable[[int], AttemptFolder]) -> None:
    run = begin(1).run
    job = run.new_job()
    names = ("17_0_log.out", "17_1_log.out", "17_0_log.err", "17_submitted.pkl", "script.sh")
    for name in names:
        (job.root / name).write_text(f"{name}\n")
    expected = ["job 17_0_log.err", "job 17_0_log.out", "job 17_1_log.out", "0 1.0 first", "0 1.0 second"]
    logs = RunLogs(run)
    assert shown(logs) == expected
    # A job that takes the first one's place writes files of its own.
    (job.root / "18_0_log.out").write_text("next\n")
    assert shown(logs) == ["job next"]
    assert [line.source for line in RunLogs(run, attempt=1).new()] == ["0", "0"]


def test_a_job_that_waits_has_said_nothing(tmp_path: Path) -> None:
    run = RunFolder.prepare(tmp_path / "run")
    run.new_job()
    assert shown(RunLogs(run)) == []


def test_a_bar_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"10%\r20%\r\n\xff\r\n")
    assert list(LogTail(path, "0").new()) == [Line("0", "20%"), Line("0", "�")]


@given(
    lines=st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5), max_size=8),
    ended=st.booleans(),
    last=st.integers(0, 9),
)
def test_the_last_lines(tmp_path_factory: pytest.TempPathFactory, lines: list[str], ended: bool, last: int) -> None:
    if not ended and lines and not lines[-1]:
        lines = lines[:-1]  # a last line of nothing, without a newline, is none
        ended = True
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes("\n".join(lines).encode() + (b"\n" if ended and lines else b""))
    tail = LogTail(path, "0")
    tail.skip_to_last(last)
    found = [line.text for line in (*tail.new(), *tail.rest())]
    assert found == lines[max(0, len(lines) - last) :]


def test_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{number:0100d}\n" for number in range(5000)))
    tail = LogTail(path, "0")
    tail.skip_to_last(2000)
    found = [int(line.text) for line in tail.new()]
    assert found == list(range(3000, 5000))
