"""How a run stands, by its files and by what Slurm says of its job."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from biodist.plan.plan import Plan, write_plan
from biodist.run.folder import RunFolder
from biodist.run.jobs import SlurmJob, Submission
from biodist.run.lease import Lease, LeaseRecord
from biodist.run.records import AttemptRecord, Failure, Result
from launch.achieved import achieved, published_steps
from launch.slurm.job_state import JobState
from launch.standing import History, RunStanding, open_jobs, standing_of

pytestmark = pytest.mark.timeout(60)


def slurm_says(state: str, job_id: str = "17", **more: Any) -> dict[str, JobState]:
    return {job_id: JobState(job_id=job_id, state=state, source="squeue", **more)}


@dataclass
class Story:
    """Builds a run's folder as the project's own records write it."""

    run: RunFolder
    plan: Plan
    clock: float = field(default_factory=lambda: time.time() - 3600)

    def submit(self, *job_ids: str) -> None:
        job = self.run.new_job()
        write_plan(self.plan, job.plan)
        self.clock += 1
        jobs = tuple(SlurmJob(job_id=job_id, submitted=self.clock) for job_id in job_ids)
        Submission(profile="p", nodes=2, world_size=4, command=("biodist",), jobs=jobs).save(job.submission)

    def attempt(self, outcome: str, steps: range = range(0), job: str | None = "17", **more: Any) -> None:
        attempt = self.run.new_attempt()
        write_plan(self.plan, attempt.plan)
        self.clock += 10
        record = {
            **{"number": attempt.number, "outcome": outcome, "host": "n1", "pid": 999_999_999, "world_size": 4},
            **{"strategy": "zero2", "started": self.clock, "job": job, "nodes": ("n1", "n2") if job else ()},
        }
        AttemptRecord.model_validate({**record, **more}).save(attempt.record)
        events = [{"kind": "resumed", "step": steps.start - 1 if steps else 0, "time": 0.0}]
        events += [
            {
                **{"kind": "step", "step": n, "loss": 1 / n, "learning_rate": 1e-5, "tokens": 10, "seconds": 0.5},
                "time": 0.0,
            }
            for n in steps
        ]
        attempt.events(0).write_text("".join(json.dumps(event) + "\n" for event in events))

    def standing(self, slurm: dict[str, JobState] | None = None, answers: bool = True) -> RunStanding:
        return standing_of(History.read(self.run), (slurm or {}) if answers else None)


@pytest.fixture
def story(tmp_path: Path, plan: Callable[..., Plan]) -> Story:
    return Story(RunFolder.prepare(tmp_path / "run"), plan(4, total_steps=100))


@pytest.fixture
def leased(story: Story) -> Iterator[Callable[..., Lease]]:
    held: list[Lease] = []

    def acquire(**more: Any) -> Lease:
        held.append(Lease.acquire(story.run, **more))
        return held[-1]

    yield acquire
    for lease in held:
        lease.release()


def test_nothing_begun(story: Story) -> None:
    standing = story.standing()
    assert (standing.state, standing.attempts, standing.total_steps) == ("new", 0, None) and not standing.under_way


def test_a_job_that_waits(story: Story) -> None:
    story.submit("17")
    standing = story.standing(slurm_says("PENDING", reason="Resources", starts=5.0))
    assert (standing.state, standing.reason, standing.job, standing.starts) == ("waiting", "Resources", "17", 5.0)
    assert (standing.step, standing.total_steps, standing.attempts) == (0, 100, 0) and standing.under_way


def test_a_job_that_runs(story: Story) -> None:
    story.submit("17")
    story.attempt("running", range(1, 41))
    (story.run.checkpoint(30)).mkdir(parents=True)
    standing = story.standing(slurm_says("RUNNING", nodes="n[1-2]", time_left_s=600))
    assert (standing.state, standing.nodes, standing.job_seconds_left) == ("running", "n[1-2]", 600)
    assert (standing.step, standing.loss, standing.seconds_left) == (40, 1 / 40, 30.0)
    assert standing.checkpoint_step == 30 and standing.pid is None


def test_what_came_between(story: Story, leased: Callable[..., Lease]) -> None:
    """Stopped by a signal, killed, failed, and the living one: each counted once."""
    story.submit("17")
    story.attempt("stopped", range(1, 11))
    story.attempt("running", range(11, 21), restart=1)
    story.attempt("failed", range(11, 15), restart=2)
    story.attempt("running", range(11, 13), restart=3)
    leased(attempt=4, job="17")
    standing = story.standing(slurm_says("RUNNING", restarts=3))
    assert (standing.attempts, standing.preemptions, standing.failures) == (4, 2, 1)
    assert standing.step == 12


def test_a_living_attempt_of_a_dead_leader_counts_once_slurm_has_taken_it_back(story: Story) -> None:
    story.submit("17")
    story.attempt("running", range(1, 11))
    assert story.standing(slurm_says("PENDING", restarts=1)).preemptions == 1


def test_a_job_that_does_not_come_back_names_the_line_that_goes_on(story: Story) -> None:
    story.submit("17")
    story.attempt("stopped", range(1, 11))
    [job] = story.run.jobs()
    line = f"biodist resume {story.run.root} --on {job.profile} --nodes 2"
    assert story.standing(slurm_says("PENDING", restarts=1)).resume == "", "it comes back by itself"
    assert story.standing(answers=False).resume == "", "it may"
    for slurm in (slurm_says("FAILED", exit_code=75), {}):
        assert story.standing(slurm).resume == line
    assert story.standing(slurm_says("FAILED", exit_code=75)).reason == "job 17: FAILED, exit code 75"
    left = job.handover("17", 0)
    left.parent.mkdir()
    left.touch()
    standing = story.standing(slurm_says("FAILED", exit_code=75))
    assert standing.state == "stopped" and standing.reason.endswith("it must be submitted again")
    assert story.standing(slurm_says("PENDING", restarts=1)).reason == "", "carried out, or requeued by hand"
    story.attempt("stopped", range(11, 21), job=None)
    assert story.standing({}).resume == "", "it went on here"


def test_stops_here_are_no_preemptions(story: Story) -> None:
    story.attempt("stopped", range(1, 11), job=None)
    story.attempt("running", range(11, 21), job=None)
    standing = story.standing()
    assert (standing.state, standing.preemptions, standing.host) == ("killed", 0, "n1")


def test_a_job_that_came_back_and_has_not_begun_yet(story: Story) -> None:
    story.submit("17")
    story.attempt("stopped", range(1, 11), restart=0)
    assert story.standing(slurm_says("RUNNING", restarts=1)).phase == "starting"
    assert story.standing(slurm_says("RUNNING", restarts=0)).phase != "starting"


@pytest.mark.parametrize(
    ("outcome", "slurm", "state"),
    [
        ("stopped", slurm_says("COMPLETING"), "ending"),
        ("stopped", slurm_says("PENDING"), "waiting"),
        ("running", slurm_says("CANCELLED"), "cancelled"),
        ("running", slurm_says("NODE_FAIL"), "killed"),
        ("running", {}, "killed"),
        ("stopped", {}, "stopped"),
        ("stopped", slurm_says("TIMEOUT"), "stopped"),
        ("failed", slurm_says("FAILED", exit_code=3), "failed"),
    ],
)
def test_states(story: Story, outcome: str, slurm: dict[str, JobState], state: str) -> None:
    story.submit("17")
    story.attempt(outcome, range(1, 11))
    assert story.standing(slurm).state == state


def test_a_run_whose_job_slurm_forgot_before_it_began(story: Story) -> None:
    story.submit("17")
    standing = story.standing()
    assert standing.state == "lost" and "forgotten" in standing.reason and not standing.under_way


def test_while_slurm_does_not_answer_nothing_is_claimed(story: Story) -> None:
    story.submit("17")
    story.attempt("stopped", range(1, 11))
    standing = story.standing(answers=False)
    assert standing.state == "unknown" and standing.under_way and standing.step == 10


def test_a_living_holder_is_believed_without_slurm(story: Story, leased: Callable[..., Lease]) -> None:
    story.submit("17")
    story.attempt("running", range(1, 11))
    leased(attempt=1, job="17")
    assert story.standing(answers=False).state == "running"


def test_cancelled_by_its_user(story: Story) -> None:
    story.submit("17")
    story.attempt("stopped", range(1, 11))
    story.attempt("stopped", range(11, 21), restart=1)
    story.run.jobs()[-1].cancelled.write_text("{}")
    standing = story.standing()
    assert (standing.state, standing.preemptions) == ("cancelled", 1)


def test_gone_on_here_after_a_job(story: Story, leased: Callable[..., Lease]) -> None:
    story.submit("17")
    story.attempt("stopped", range(1, 11))
    story.run.jobs()[-1].cancelled.write_text("{}")
    story.attempt("running", range(11, 21), job=None)
    leased(attempt=2)
    standing = story.standing(slurm_says("CANCELLED"))
    assert (standing.state, standing.job, standing.pid) == ("running", None, os.getpid())
    assert standing.host == socket.gethostname()


def test_the_newer_of_two_jobs_waits_for_the_older(story: Story) -> None:
    story.submit("17", "18")
    story.attempt("stopped", range(1, 11))
    both = slurm_says("COMPLETING") | slurm_says("PENDING", "18", reason="Dependency")
    assert story.standing(both).job == "17"
    assert story.standing(slurm_says("FAILED") | slurm_says("PENDING", "18")).job == "18"


def test_why_it_failed(story: Story) -> None:
    story.submit("17")
    failure = Failure(rank=3, time=1.0, kind="error", message="CUDA out of memory", step=12)
    story.attempt("failed", range(1, 11), failure=failure.model_dump())
    assert story.standing(slurm_says("FAILED")).reason == "rank 3 at step 12: CUDA out of memory"


def test_preemption_is_said_while_it_lasts(story: Story) -> None:
    story.submit("17")
    story.attempt("running", range(1, 11))
    assert story.standing(slurm_says("RUNNING", preempted=1.0)).reason == "being preempted"


def test_finished_runs_are_not_asked_for(story: Story) -> None:
    story.submit("17")
    assert open_jobs([History.read(story.run)]) == ["17"]
    Result(status="finished", steps=100, samples_seen=1, tokens_seen=1, train_seconds=1.0, tokens_per_second=1.0).save(
        story.run.result
    )
    assert open_jobs([History.read(story.run)]) == []
    assert story.standing(answers=False).state == "finished"


def test_a_dead_holder_elsewhere(story: Story) -> None:
    """Its heartbeat decides: nobody can look its process up from here."""
    story.attempt("running", range(1, 11), job=None)
    now = time.time()
    LeaseRecord(
        **{"attempt": 1, "host": "far", "pid": 1, "process_start_ticks": 1, "process_space": "another/space"},
        **{"job": None, "since": now, "heartbeat": now, "token": "t"},
    ).save(story.run.lease)
    assert (story.standing().state, story.standing().host) == ("running", "far")
    os.utime(story.run.lease, (now - 61, now - 61))
    assert story.standing().state == "killed"


def test_the_best_score_by_the_recipes_metric(story: Story) -> None:
    lines = [
        {"step": 10, "split": "validation", "f1": 0.5, "loss": 0.1},
        {"step": 10, "split": "train", "f1": 0.99},
        {"step": 20, "split": "validation", "f1": 0.7, "loss": 0.3},
        {"step": 30, "split": "validation", "f1": 0.6, "loss": 0.2},
        {"step": 30, "split": "test", "f1": 0.9},
    ]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    story.run.metrics.write_text(text + '{"step":40,"split":"validation","f1":0.9')  # being written
    best = achieved(story.run, story.plan).best
    assert best is not None and (best.metric, best.value, best.step) == ("f1", 0.7, 20)


def test_published_checkpoints_alone_count(story: Story) -> None:
    for name in ("step-00000010", "step-00000200", ".staging-0001-step-00000300", "notes"):
        (story.run.checkpoints / name).mkdir(parents=True)
    assert published_steps(story.run) == [10, 200]


def test_the_end_of_long_events_is_enough(story: Story) -> None:
    story.attempt("running", range(1, 5001), job=None)
    far = achieved(story.run, story.plan)
    assert (far.step, far.phase, far.loss) == (5000, "training", 1 / 5000)
