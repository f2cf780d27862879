"""Trials as processes: none begins before the ledger knows it, none is lost, none is mistaken for another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from biodist.errors import MachineCannot
from biodist.run.folder import RunFolder
from biodist.run.jobs import Submission
from biodist.run.process import process_space, process_stat
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.backend import Launch
from biodist.sweeps.ledger import Started
from biodist.sweeps.local import LocalBackend, Slot
from biodist.sweeps.outcome import Score, Scores, outcome_of

from .conftest import Killed

pytestmark = pytest.mark.timeout(120)
KEY = "0123abcd-0001"


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    folder = SweepFolder.prepare(tmp_path / "sweep")
    core = min(os.sched_getaffinity(0))
    return LocalBackend(folder, [Slot((core,))], ("--nproc", "1"))


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_process_that_was_never_noted_ends_without_having_begun(backend: LocalBackend) -> None:
    """The driver dies between the start and its note."""
    seen: list[Started] = []

    def note(started: Started) -> None:
        seen.append(started)
        raise Killed

    with pytest.raises(Killed):
        backend.start([Launch(KEY, backend.folder.trial(KEY), ())], note)
    assert seen[0].pid is not None
    wait(lambda: (stat := process_stat(seen[0].pid or 0)) is None or not stat.alive)
    assert backend.folder.log(KEY).read_bytes() == b"" and not backend.folder.trial(KEY).root.exists()


def test_a_noted_process_runs_on_its_core_and_says_why_it_failed(backend: LocalBackend) -> None:
    seen: list[Started] = []
    assert backend.start([Launch(KEY, backend.folder.trial(KEY), ())], seen.append) == []
    assert backend.living([KEY]) == {KEY} and seen[0].pid is not None
    assert os.sched_getaffinity(seen[0].pid) == set(backend.parts[0].cores) and os.getpgid(seen[0].pid) == seen[0].pid
    wait(lambda: not backend.living([KEY]))
    assert "recipe.yaml" in backend.folder.log(KEY).read_text()  # there is none


def test_a_number_that_was_used_again_is_not_adopted(backend: LocalBackend) -> None:
    """Neither another process with the number, nor the number on another host."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        stat = process_stat(process.pid)
        assert stat is not None
        here = Started(key=KEY, pid=process.pid, start_ticks=stat.start_ticks, process_space=process_space())
        assert backend.adopt({KEY: here}) == {KEY}
        assert backend.adopt({KEY: here.model_copy(update={"start_ticks": stat.start_ticks - 1})}) == set()
        assert backend.adopt({KEY: here.model_copy(update={"process_space": "elsewhere"})}) == set()
    finally:
        process.kill()
        process.wait(30)


def test_what_no_trial_could_start_on_is_the_machines(backend: LocalBackend) -> None:
    backend.folder.logs.rmdir()
    with pytest.raises(MachineCannot, match="cannot be started"):
        backend.start([Launch(KEY, backend.folder.trial(KEY), ())], lambda started: None)


def test_a_stopped_trial_is_ended(backend: LocalBackend) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    stat = process_stat(process.pid)
    assert stat is not None
    started = Started(key=KEY, pid=process.pid, start_ticks=stat.start_ticks, process_space=process_space())
    assert backend.adopt({KEY: started}) == {KEY}
    backend.stop(KEY)
    assert process.wait(30) == -15 and backend.living([KEY]) == set()


def test_a_cancelled_job_is_not_tried_again(tmp_path: Path) -> None:
    """Also one that had begun nothing yet."""
    run = RunFolder.prepare(tmp_path / KEY)
    assert not outcome_of(run, tmp_path / "log").asked
    job = run.new_job()
    Submission(profile="p", nodes=1, world_size=1, command=("biodist",)).save(job.submission)
    assert not outcome_of(run, tmp_path / "log").asked
    job.cancelled.touch()
    assert outcome_of(run, tmp_path / "log").asked


def test_scores_are_given_once_also_when_the_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    scores = Scores(path, "f1")
    assert list(scores.new()) == []
    lines = [
        {"step": 5, "split": "train", "f1": 1.0},
        {"step": 10, "split": "validation", "f1": 0.1},
        {"step": 20, "split": "validation", "f1": float("nan")},
        {"step": 30, "split": "validation", "f1": 0.3},
    ]
    text = [json.dumps(line) + "\n" for line in lines]
    path.write_text("".join(text[:2]) + text[3][:20])
    assert list(scores.new()) == [Score(10, 0.1)]
    with path.open("a") as file:
        file.write(text[3][20:])
    assert list(scores.new()) == [Score(30, 0.3)]
    anew = path.with_name("new")
    anew.write_text("".join(text) + json.dumps({"step": 40, "split": "validation", "f1": 0.4}) + "\n")
    anew.replace(path)
    assert list(scores.new()) == [Score(40, 0.4)]
    assert list(Scores(path, "f1", step=30).new()) == [Score(40, 0.4)]
