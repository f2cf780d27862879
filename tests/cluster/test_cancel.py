"""`biodist cancel` where a run trains on this machine while its job waits in the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from biodist.errors import EXIT_STOPPED
from biodist.run.durable import write_json

from .submitted import Submitted, commands_without, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
__all__ = ["ground", "submitted"]


def test_both_are_ended(submitted: Submitted, tmp_path: Path) -> None:
    """Trained where Slurm is not seen, or `biodist train` would have refused."""
    hog = submitted.cluster.hog()
    submitted.cluster.wait_for_state(hog, "RUNNING")
    job = submitted.submit()
    held = submitted.trap("step", call=3)
    training = submitted.started(
        *("train", str(submitted.ground.recipe), "distributed.strategy=zero2"),
        *("--run", str(submitted.run.root), "--nproc", "1", "--device", "cpu"),
        path=commands_without(tmp_path / "commands"),
    )
    submitted.wait_held(held)
    cancelling = submitted.started("cancel", str(submitted.run.root))
    submitted.cluster.wait_for_state(job, "CANCELLED")
    held.let_go()
    assert cancelling.wait(120) == 0
    assert training.wait(60) == EXIT_STOPPED
    assert submitted.outcomes() == ["stopped"], "saved, though its job had nothing to save"
    assert "  stopped" in submitted.biodist("status", str(submitted.run.root)).stdout


def test_a_job_that_begins_all_the_same_ends_at_once(submitted: Submitted) -> None:
    """Where Slurm could not be asked when its run was cancelled."""
    hog = submitted.cluster.hog()
    submitted.cluster.wait_for_state(hog, "RUNNING")
    job = submitted.submit()
    write_json(submitted.run.jobs()[0].cancelled, {"time": 0.0})
    submitted.cluster.cancel(hog)
    submitted.wait_said("cancelled by `biodist cancel` before it began: nothing to do")
    submitted.cluster.wait_for_state(job, "FAILED")
    assert submitted.outcomes() == [] and submitted.cluster.job(job)["Restarts"] == "0"
