"""`biodist resume`, `checkpoints` and `export` of what is no run, or none yet."""

from __future__ import annotations

from typing import Any

import pytest

from biodist.errors import EXIT_USER
from biodist.run.folder import RunFolder

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("words", [("resume", "4711"), ("checkpoints", "4711"), ("export", "4711", "out")])
def test_a_job_s_number_names_no_run(desk: Any, words: tuple[str, ...]) -> None:
    said = desk.run(*words)
    assert said.code == EXIT_USER and "4711: is no run's folder" in said.err and "not by a job's number" in said.err


def test_a_run_that_was_never_begun(desk: Any) -> None:
    """As a submission leaves it that was killed before it wrote a recipe."""
    RunFolder.prepare(desk.folder / "a").lease_lock.touch()
    said = desk.run("resume", "a")
    assert said.code == EXIT_USER and "a: holds no recipe.yaml" in said.err
    assert "biodist train RECIPE --run a" in said.err
