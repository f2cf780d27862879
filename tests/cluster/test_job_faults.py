"""What becomes of a job when something of it is lost, forbidden, or called off."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from biodist.metrics.samples import verify_chain
from biodist.run.jobs import Submission
from biodist.run.records import Result

from .submitted import Submitted, differences, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]
__all__ = ["ground", "submitted"]


def worker(submitted: Submitted, rank: int) -> int:
    """The process of a rank of the newest attempt."""
    events = submitted.run.attempts()[-1].events(rank)
    submitted.wait(events.exists, f"rank {rank} never started")
    pid: int = json.loads(events.read_text().splitlines()[0])["pid"]
    return pid


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_rank_that_is_killed_is_named_and_the_run_goes_on(submitted: Submitted) -> None:
    held = submitted.trap("step", call=7)
    job = submitted.submit()
    submitted.wait_held(held)
    os.kill(worker(submitted, rank=3), signal.SIGKILL)
    held.let_go()
    submitted.wait_finished()
    assert submitted.outcomes() == ["failed", "finished"]
    failure = submitted.attempts()[0].failure
    assert failure is not None
    assert (failure.rank, failure.kind) == (3, "killed")
    assert "rank 3 failed first" in submitted.log()
    assert submitted.job == job
    submitted.check_equal()


def test_a_leader_that_is_killed_is_stood_in_for(submitted: Submitted) -> None:
    held = submitted.trap("step", call=7)
    submitted.submit()
    submitted.wait_held(held)
    os.kill(parent(worker(submitted, rank=0)), signal.SIGKILL)
    submitted.wait_said("rank 0's task is gone; rank 1's stands in for it")
    held.let_go()
    submitted.wait_finished()
    assert submitted.outcomes() == ["failed", "finished"]
    submitted.check_equal()


def test_a_stand_in_elsewhere_does_not_wait_for_a_node_that_lives(submitted: Submitted) -> None:
    """One rank a node: nobody is left on rank 0's, which Slurm would never miss."""
    held = submitted.trap("step", call=7)
    job = submitted.submit("--nproc", "1")
    submitted.wait_held(held)
    os.kill(parent(worker(submitted, rank=0)), signal.SIGKILL)
    submitted.wait_said("rank 0's task is gone; rank 1's stands in for it")
    submitted.wait_said("every node of the job answers: none is lost")
    held.let_go()
    submitted.wait_finished()
    assert submitted.outcomes() == ["failed", "finished"] and submitted.job == job
    assert "a node seems to be lost" not in submitted.log()
    assert differences(submitted.run, submitted.ground.undisturbed("zero2", 2)) == []


def test_a_node_that_is_lost_takes_nothing_with_it(submitted: Submitted) -> None:
    held = submitted.trap("step", call=7)
    job = submitted.submit()
    submitted.wait_held(held)
    submitted.cluster.kill_node("n2")
    held.let_go()
    submitted.wait_finished()
    assert submitted.job == job
    assert submitted.outcomes()[-1] == "finished"
    assert "n2" not in submitted.attempts()[-1].nodes
    submitted.check_equal()


def test_the_time_limit_is_reached_twice(submitted: Submitted) -> None:
    """A rank stands still until the job is warned, twice: a minute into its two. On a busy machine more often."""
    first, second = submitted.trap("step", call=4), submitted.trap("step", call=6)
    job = submitted.submit(on=submitted.profile(time_limit_min=2, signal_lead_s=60, grace_s=None))
    for trap, lives in ((first, 1), (second, 2)):
        submitted.wait_held(trap)
        submitted.wait_said("SIGUSR2: stopping after this step", times=4 * lives)
        trap.let_go()
        submitted.wait(lambda lives=lives: submitted.outcomes().count("stopped") >= lives, "was not stopped")  # type: ignore[misc]
    submitted.wait_finished()
    *before, last = submitted.outcomes()
    assert last == "finished" and len(before) >= 2 and set(before) == {"stopped"}
    assert {record.stopped_by for record in submitted.attempts()[:2]} == {"SIGUSR2"}
    assert submitted.job == job
    submitted.check_equal()


def test_where_requeueing_is_forbidden_another_job_takes_its_place(submitted: Submitted) -> None:
    held = submitted.trap("step", call=6)
    first = submitted.submit(on=submitted.profile(partition="norequeue", requeue=False))
    submitted.preempt(held)
    submitted.wait_said("takes its place and begins once job")
    second = submitted.job
    submitted.cluster.jobs.append(second)
    assert second != first
    submitted.wait_finished()
    assert submitted.outcomes() == ["stopped", "finished"]
    assert [record.job for record in submitted.attempts()] == [first, second]
    submitted.check_equal()


def test_scancel_is_final(submitted: Submitted) -> None:
    held = submitted.trap("step", call=6)
    job = submitted.submit()
    submitted.wait_held(held)
    submitted.cluster.slurm("scancel", job)
    submitted.wait_said("stopping after this step", times=4)
    held.let_go()
    submitted.cluster.wait_for_state(job, "CANCELLED")
    submitted.wait_said("cancelled")
    assert submitted.outcomes() == ["stopped"]
    assert submitted.cluster.status()["processes"] in ([], {})
    # What was saved is there to go on from.
    submitted.resume("--on", "devcluster", "--nodes", "2")
    submitted.wait_finished()
    submitted.check_equal()


@pytest.mark.parametrize("nodes", [pytest.param(1, marks=pytest.mark.full), 3])
def test_goes_on_on_other_numbers_of_nodes(submitted: Submitted, nodes: int) -> None:
    held = submitted.trap("step", call=7)
    job = submitted.submit()
    submitted.wait_held(held)
    cancelling = submitted.started("cancel", str(submitted.run.root))
    submitted.wait_said("stopping after this step", times=4)
    held.let_go()
    assert cancelling.wait(120) == 0
    assert submitted.outcomes() == ["stopped"]
    submitted.cluster.wait_for_state(job, ("CANCELLED", "FAILED", "COMPLETED"))
    submitted.resume("--on", "devcluster", "--nodes", str(nodes))
    submitted.wait_finished()
    assert [record.world_size for record in submitted.attempts()] == [4, 2 * nodes]
    undisturbed = submitted.ground.undisturbed("zero2", 4)
    assert submitted.run.samples.read_bytes() == undisturbed.samples.read_bytes()
    assert verify_chain(submitted.run.samples) is None
    assert Result.load(submitted.run.result).steps == Result.load(undisturbed.result).steps


def test_failures_in_a_row_end_the_run(submitted: Submitted) -> None:
    """A store that is gone fails every attempt at the same step."""
    held = submitted.trap("start-up", call=1)
    job = submitted.submit(on=submitted.profile(max_failures=2))
    submitted.wait_held(held)
    store = Path(json.loads(submitted.run.attempts()[0].plan.read_text())["data"]["store"])
    moved = store.rename(store.with_name("moved-away"))
    try:
        os.kill(worker(submitted, rank=1), signal.SIGKILL)
        held.let_go()
        submitted.wait_said("2 attempts in a row have failed at the same step (max_failures 2)")
        submitted.cluster.wait_for_state(job, "FAILED")
    finally:
        moved.rename(store)
    assert submitted.outcomes() == ["failed", "failed"]
    assert Result.load(submitted.run.result).status == "failed"


def test_what_slurm_refuses_leaves_nothing_behind(submitted: Submitted) -> None:
    for changes, code, words in (
        ({"partition": "gpu"}, 2, ["partition is 'gpu', which this cluster does not have", "high, low, norequeue"]),
        ({"time_limit_min": 90}, 2, ["time_limit_min is 90, but partition low allows 60"]),
        ({"gpus_per_node": 5}, 4, ["Slurm refuses the job", "Requested node configuration is not available"]),
        ({"sbatch": {"licenses": "matlab"}}, 4, ["Slurm refuses the job", "Invalid license specification"]),
    ):
        done = submitted.biodist(
            *("submit", str(submitted.ground.recipe), "--on", str(submitted.profile(**changes))),
            *("--nodes", "2", "--run", str(submitted.run.root)),
        )
        assert done.returncode == code, done.stderr
        for word in words:
            assert word in done.stderr
        assert not submitted.run.root.exists()
    assert submitted.cluster.status()["jobs"] == []


def test_one_job_a_run(submitted: Submitted) -> None:
    held = submitted.trap("step", call=3)
    job = submitted.submit()
    done = submitted.biodist(
        *("submit", str(submitted.ground.recipe), "distributed.strategy=zero2", "--on", "devcluster"),
        *("--run", str(submitted.run.root)),
    )
    assert done.returncode == 4
    assert f"job {job} of this run is" in done.stderr
    assert "biodist cancel" in done.stderr
    submitted.wait_held(held)
    held.let_go()


def test_of_two_commands_at_once_one_submits(submitted: Submitted) -> None:
    """Both found no such run. One has taken it, and has written nothing yet, when the other comes: that one must be
    refused, and must not take the folder away."""
    words = ("submit", str(submitted.ground.recipe), "distributed.strategy=zero2", "--on", "devcluster", "--nodes", "2")
    where = ("--run", str(submitted.run.root))
    late = submitted.command_trap("biodist.cli.submission", "submit_candidates")
    second = submitted.started(*words, *where, traps=[late])
    submitted.wait(lambda: late.holds == second.pid, "the second command never came so far")
    early = submitted.command_trap("biodist.run.folder", "RunFolder.new_job")
    first = submitted.started(*words, *where, traps=[early])
    submitted.wait(lambda: early.holds == first.pid, "the first command never came so far")
    late.let_go()
    assert second.wait(60) == 4
    early.let_go()
    assert first.wait(60) == 0
    [job] = submitted.run.jobs()
    [known] = Submission.load(job.submission).jobs
    submitted.cluster.jobs.append(known.job_id)
    assert [row["job"] for row in submitted.cluster.status()["jobs"]] == [known.job_id]
