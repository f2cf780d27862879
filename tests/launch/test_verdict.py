"""Which rank is to blame."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biodist.run.folder import AttemptFolder
from biodist.run.records import Ending, Failure
from launch.verdict import first_failure, last_lines, written_failures

pytestmark = pytest.mark.timeout(60)
ATTEMPT = AttemptFolder(Path("/no/attempts/0001"))


def failure(rank: int, time: float, kind: str, code: int = 3) -> Failure:
    return Failure.model_validate({"rank": rank, "time": time, "kind": kind, "message": kind, "exit_code": code})


def blamed(written: list[Failure], endings: list[Ending] = [], stopped: list[int] = []) -> tuple[int, str]:  # noqa: B006
    found = first_failure(ATTEMPT, written, endings, stopped, now=1000.0)
    assert found is not None
    return found.rank, found.cause.kind


def test_nobody_failed() -> None:
    assert (
        first_failure(ATTEMPT, [], [Ending(rank=0, status=75, time=1.0), Ending(rank=1, status=75, time=2.0)], [], 3.0)
        is None
    )


def test_a_library_that_aborts_when_its_peer_is_gone_is_not_to_blame() -> None:
    """The abort is noticed before the kill that caused it."""
    assert blamed(
        [], [Ending(rank=0, status=-signal.SIGABRT, time=1.0), Ending(rank=1, status=-signal.SIGKILL, time=1.1)]
    ) == (1, "killed")
    assert blamed([], [Ending(rank=0, status=-signal.SIGABRT, time=1.0)]) == (0, "signal")


def test_an_exit_without_a_reason_comes_before_lost_connections() -> None:
    assert blamed(
        [failure(0, 1.0, "connection")], [Ending(rank=0, status=3, time=1.1), Ending(rank=1, status=9, time=2.0)]
    ) == (1, "error")


def test_a_stopped_rank_is_to_blame_for_hangs_and_lost_connections_only() -> None:
    assert blamed([failure(0, 1.0, "hang")], stopped=[3]) == (3, "paused")
    assert blamed([failure(0, 1.0, "connection")], stopped=[3]) == (3, "paused")
    assert blamed([failure(0, 1.0, "error")], stopped=[3]) == (0, "error")


@given(
    causes=st.lists(st.tuples(st.integers(0, 99), st.floats(0, 1e9)), min_size=1, unique_by=lambda cause: cause[0]),
    victims=st.lists(st.tuples(st.integers(100, 199), st.floats(0, 1e9)), unique_by=lambda victim: victim[0]),
)
def test_the_earliest_of_the_causes_whatever_the_victims_say(
    causes: list[tuple[int, float]], victims: list[tuple[int, float]]
) -> None:
    written = [failure(rank, time, "error") for rank, time in causes]
    written += [failure(rank, time, "connection") for rank, time in victims]
    assert blamed(written)[0] == min(causes, key=lambda cause: (cause[1], cause[0]))[0]


def test_a_record_that_cannot_be_read_still_counts(tmp_path: Path) -> None:
    attempt = AttemptFolder(tmp_path)
    attempt.failure(1).write_text('{"rank": 1, "mess')
    [found] = written_failures(attempt)
    assert (found.rank, found.kind) == (1, "error") and "cannot be read" in found.message


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "rank-0.log"
    assert last_lines(log) == ()
    log.write_bytes(b"x" * 100_000 + b"\n" + b"\xff\n" + b"".join(b"%d\n" % n for n in range(18)))
    lines = last_lines(log)
    assert len(lines) == 20 and lines[1:3] == ("�", "0") and lines[-1] == "17" and set(lines[0]) == {"x"}
