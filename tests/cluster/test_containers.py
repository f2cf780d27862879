"""Jobs whose tasks find no Slurm where they run, as in a container: the batch script brings them back."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from biodist.run.jobs import Submission

from .submitted import SLURM, Submitted, commands_without, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
__all__ = ["ground", "submitted"]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A profile's `launcher`: what it starts sees no Slurm."""
    return "/usr/bin/env", f"PATH={commands_without(tmp_path_factory.mktemp('container') / 'bin')}"


def stop(submitted: Submitted, job: str, asked: int = 4) -> None:
    """Asks every task to save and stop, as before the time limit."""
    submitted.cluster.slurm("scancel", "--signal=USR2", job)
    submitted.wait_said("stopping after this step", times=asked)


def test_preempted_it_is_requeued_by_the_batch_script(submitted: Submitted, container: tuple[str, ...]) -> None:
    held = submitted.trap("step", call=6)
    job = submitted.submit(on=submitted.profile(launcher=container))
    submitted.preempt(held)
    submitted.wait_said("left to the batch script")
    submitted.wait_said(f"requeued by the batch script: job {job} goes on where it stopped")
    submitted.wait_finished()
    assert submitted.outcomes() == ["stopped", "finished"]
    assert submitted.job == job and submitted.cluster.job(job)["Restarts"] == "1", "one way alone acted"
    assert submitted.run.jobs()[0].handovers() == []
    submitted.check_equal()


def test_where_requeueing_is_forbidden_the_batch_script_submits_another(
    submitted: Submitted, container: tuple[str, ...]
) -> None:
    held = submitted.trap("step", call=6)
    first = submitted.submit(
        on=submitted.profile(launcher=container, partition="norequeue", requeue=False, grace_s=None)
    )
    submitted.wait_held(held)
    stop(submitted, first)
    held.let_go()
    submitted.wait_said("takes its place and begins once job")
    second = submitted.job
    submitted.cluster.jobs.append(second)
    submitted.wait_finished()
    assert submitted.outcomes() == ["stopped", "finished"]
    assert [record.job for record in submitted.attempts()] == [first, second]
    known = Submission.load(submitted.run.jobs()[0].submission).jobs
    assert [(one.job_id, one.after) for one in known] == [(first, None), (second, first)]
    submitted.check_equal()


def test_without_slurm_on_the_node_status_says_what_to_type(submitted: Submitted, tmp_path: Path) -> None:
    """srun is there, or no task could be started; what brings a job back is not."""
    path = commands_without(tmp_path / "node", SLURM - {"srun"})
    held = submitted.trap("step", call=6)
    job = submitted.submit(on=submitted.profile(setup=(f"export PATH={path}",)))
    submitted.wait_held(held)
    stop(submitted, job)
    held.let_go()
    submitted.wait_said(f"job {job} must be submitted again: biodist resume")
    submitted.cluster.wait_for_state(job, "FAILED")
    said = submitted.biodist("status", str(submitted.run.root)).stdout
    assert "stopped (there was no Slurm where its job ran: it must be submitted again)" in said
    command = shlex.split(said.partition("go on with: ")[2])
    assert command[:3] == ["biodist", "resume", str(submitted.run.root)]
    # The line as it is printed; the node is as it was, but the run now ends on it.
    assert submitted.biodist(*command[1:]).returncode == 0
    submitted.cluster.jobs.append(submitted.job)
    submitted.wait_finished()
    assert submitted.outcomes() == ["stopped", "finished"]
    assert "go on with" not in submitted.biodist("status", str(submitted.run.root)).stdout
    submitted.check_equal()


def test_scancel_is_final_there_too(submitted: Submitted, container: tuple[str, ...]) -> None:
    """A task cannot see that it was called off; the batch script is ended with the job, and brings nothing back."""
    held = submitted.trap("step", call=6)
    job = submitted.submit(on=submitted.profile(launcher=container))
    submitted.wait_held(held)
    submitted.cluster.slurm("scancel", job)
    submitted.wait_said("stopping after this step", times=4)
    held.let_go()
    submitted.cluster.wait_for_state(job, "CANCELLED")
    assert submitted.cluster.job(job)["Restarts"] == "0"
    assert "  cancelled" in submitted.biodist("status", str(submitted.run.root)).stdout
    assert submitted.cluster.status()["jobs"] == []
