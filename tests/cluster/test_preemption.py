"""Jobs that are preempted come back, and end with the bits of the run that nobody disturbed."""

from __future__ import annotations

import json
import time

import pytest

from .submitted import Submitted, ground, submitted

pytestmark = pytest.mark.timeout(1500)
__all__ = ["ground", "submitted"]

GRACE_S = 30  # of the partition `low`


@pytest.mark.slurm
def test_undisturbed_on_two_nodes(submitted: Submitted) -> None:
    """The same samples, the same bits, as four processes on one machine."""
    submitted.submit()
    submitted.wait_finished()
    assert submitted.outcomes() == ["finished"]
    [record] = submitted.attempts()
    assert (record.nodes, record.world_size) == (("n1", "n2"), 4)
    submitted.check_equal()


@pytest.mark.slurm(user_signal="either")
def test_preempted_three_times(submitted: Submitted) -> None:
    """In a step, inside a save and inside an evaluation."""
    in_step = submitted.trap("step", call=3)  # step 3 of the first life
    in_save = submitted.trap("save: manifest", call=2)  # of the second life, which goes on from step 3
    in_evaluation = submitted.trap("evaluation", call=1)  # in the first life that comes to one
    # In the background, the save would stand still while training went on to the next trap.
    job = submitted.submit("checkpoint.asynchronous=false")
    seconds = [submitted.preempt(trap) for trap in (in_step, in_save, in_evaluation)]
    submitted.wait_finished()
    assert submitted.outcomes() == ["stopped", "stopped", "stopped", "finished"]
    assert submitted.job == job, "requeued, not submitted anew"
    expected = "SIGUSR2" if submitted.cluster.user_signal else "SIGTERM"
    assert [record.stopped_by for record in submitted.attempts()] == [expected] * 3 + [None]
    assert max(seconds) < GRACE_S, f"from the signal to the end: {seconds}"
    submitted.check_equal()
    print(json.dumps({"signal": expected, "seconds_from_signal_to_end": [round(s, 1) for s in seconds]}))  # noqa: T201


@pytest.mark.slurm
def test_killed_at_the_end_of_its_grace_time(submitted: Submitted) -> None:
    """A rank that cannot save in time: Slurm kills the job and requeues it, and it goes on from its checkpoint."""
    stuck = submitted.trap("step", call=8)  # after the checkpoint of step 5
    job = submitted.submit()
    submitted.wait_held(stuck)
    with submitted.cluster.grace(3):
        hog = submitted.cluster.hog()
        # Requeued at once, but its processes are killed only after KillWait: let go earlier, it would still save.
        submitted.cluster.wait_for_state(job, "PENDING")
        assert submitted.cluster.job(job)["Restarts"] == "1"
        submitted.cluster.cancel(hog)
    stuck.let_go()
    submitted.wait_finished()
    assert submitted.outcomes() == ["running", "finished"]
    assert submitted.attempts()[1].resumed_step == 5
    submitted.check_equal()


@pytest.mark.slurm
def test_a_finished_run_that_is_requeued_ends_at_once(submitted: Submitted) -> None:
    job = submitted.submit()
    submitted.wait_finished()
    before = submitted.run.result.read_bytes()
    began = time.monotonic()
    submitted.cluster.slurm("scontrol", "requeue", job)
    submitted.wait_said("is finished: nothing to do")
    submitted.cluster.wait_for_state(job, "COMPLETED")
    assert submitted.run.result.read_bytes() == before
    assert submitted.outcomes() == ["finished"]
    assert time.monotonic() - began < 120
