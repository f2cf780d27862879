"""`biodist logs` as a person meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biodist.errors import EXIT_STOPPED, EXIT_USER

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module")
def made(undisturbed: Callable[[str, int], Any], terminal: Any) -> Path:
    """A finished run of two ranks, and what they might have said."""
    run: Path = undisturbed("ddp", 2).run
    for rank in (0, 1):
        with (run / "attempts" / "0001" / f"rank-{rank}.log").open("a") as file:
            file.write(f"said by {rank}\nlast words of {rank}\n")
    return run


def test_all_ranks_and_one(made: Path, terminal: Any) -> None:
    said = terminal.run("logs", made.name, "--lines", "2")
    assert said.code == 0, said.text
    assert said.out.splitlines() == [
        *("[0] said by 0", "[0] last words of 0", "[1] said by 1", "[1] last words of 1"),
    ]
    assert terminal.run("logs", made.name, "--rank", "1", "--lines", "1").out == "last words of 1\n"
    assert terminal.run("logs", made.name, "--attempt", "1", "--lines", "0").out == ""


def test_following_a_run_that_has_ended(made: Path, terminal: Any) -> None:
    said = terminal.run("logs", made.name, "--follow", "--lines", "1")
    assert (said.code, said.out.splitlines()) == (0, ["[0] last words of 0", "[1] last words of 1"])
    assert said.err.splitlines() == ["-- attempt 1", f"-- {made.name}: finished at step 120 of 120"]


def test_what_is_not_there(made: Path, terminal: Any) -> None:
    for words, problem in (
        (("--rank", "2"), "2 is no rank of attempt 1"),
        (("--attempt", "9"), "9 is no attempt of"),
        (("--attempt", "1", "--follow"), "goes over attempts, but --attempt names one"),
    ):
        said = terminal.run("logs", made.name, *words)
        assert said.code == EXIT_USER and problem in said.err, said.text
    assert terminal.run("logs", "nowhere").code == EXIT_USER


def test_following_to_the_end(desk: Any, tools: Any) -> None:
    """It hears what is said while it listens, and how the run ends."""
    started = desk.start("a", 1, "train.max_steps=100000")
    started.wait_for_step(1, 1)
    following = desk._popen(("logs", "a", "--follow"), ("-m", "biodist.cli"))
    assert following.stderr.readline() == "-- attempt 1\n"
    with (started.attempt() / "rank-0.log").open("a") as log:
        log.write("words of now\n")
    assert following.stdout.readline() == "[0] words of now\n"
    assert desk.run("cancel", "a").code == 0
    assert started.said().code == EXIT_STOPPED
    _, err = following.communicate(timeout=120)
    step = tools.last_step(started.attempt() / "events-rank-0.jsonl")
    assert following.returncode == EXIT_STOPPED and err == f"-- a: stopped at step {step} of 100000\n"
    assert json.loads((started.attempt() / "attempt.json").read_text())["stopped_by"] == "SIGTERM"
