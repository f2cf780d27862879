"""`submit --seeds`: one array, a run a seed, extended later; the folder answers for all of them."""

from __future__ import annotations

import json

import pytest

from biodist.run.folder import SeedsFolder
from biodist.run.jobs import Submission
from biodist.run.records import AttemptRecord, Result

from .submitted import Submitted, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
__all__ = ["ground", "submitted"]


def jobs_of(folder: SeedsFolder) -> dict[int, list[str]]:
    """The jobs of every seed, over its submissions."""
    return {
        seed: [one.job_id for job in folder.run(seed).jobs() for one in Submission.load(job.submission).jobs]
        for seed in folder.seeds()
    }


def test_seeds_are_one_array_and_more_can_follow(submitted: Submitted) -> None:
    folder, cluster = SeedsFolder(submitted.run.root), submitted.cluster
    recipe = (str(submitted.ground.recipe), "train.max_steps=6", "train.epochs=null")
    where = ("--on", "devcluster", "--nproc", "1", "--nodes", "1", "--run", str(folder.root))
    done = submitted.biodist("submit", *recipe, "--seeds", "2", *where)
    assert done.returncode == 0, done.stderr
    first = jobs_of(folder)
    array = first[7][0].partition("_")[0]
    cluster.jobs.append(array)
    assert first == {7: [f"{array}_0"], 8: [f"{array}_1"]}
    assert f"biodist seeds {folder.root}" in done.stdout and f"{array}_1: seed 8" in done.stdout

    for run in folder.runs():
        cluster.wait_until(run.result.exists, lambda: cluster.slurm("squeue", "--all"), 240)
    cluster.wait_until(lambda: cluster.job_state(f"{array}_1") not in ("RUNNING", "COMPLETING"), lambda: "no end", 60)
    table = submitted.biodist("seeds", str(folder.root))
    assert table.returncode == 0 and "2 seeds (7, 8)" in table.stdout, table.stderr

    done = submitted.biodist("submit", *recipe, "--seeds", "3", *where)
    assert done.returncode == 0, done.stderr
    cluster.jobs.append(jobs_of(folder)[9][0])
    assert {seed: jobs for seed, jobs in jobs_of(folder).items() if seed != 9} == first, "a finished seed ran again"
    cluster.wait_until(folder.run(9).result.exists, lambda: cluster.slurm("squeue", "--all"), 240)
    assert len({Result.load(run.result).weights_sha256 for run in folder.runs()}) == 3
    assert json.loads(submitted.biodist("seeds", str(folder.root), "--json").stdout)["runs"][2]["state"] == "finished"


def test_the_folder_is_cancelled_as_a_whole(submitted: Submitted) -> None:
    """All nodes are taken, so that the seeds wait; a second submission finds them and leaves them alone."""
    folder, cluster = SeedsFolder(submitted.run.root), submitted.cluster
    hog = cluster.hog()
    cluster.wait_for_state(hog, "RUNNING")
    command = ("submit", str(submitted.ground.recipe), "--seeds", "3", "--on", "devcluster", "--run", str(folder.root))
    done = submitted.biodist(*command)
    assert done.returncode == 0, done.stderr
    jobs = jobs_of(folder)
    cluster.jobs.append(jobs[7][0].partition("_")[0])
    again = submitted.biodist(*command)
    assert again.returncode == 0 and again.stderr.count("left out") == 3, again.stderr
    assert jobs_of(folder) == jobs

    listed = submitted.biodist("status", str(folder.root), "--json")
    assert [json.loads(line)["state"] for line in listed.stdout.splitlines()] == ["waiting"] * 3
    cancelled = submitted.biodist("cancel", str(folder.root))
    assert cancelled.returncode == 0 and cancelled.stdout.count("ended; nothing is saved") == 3, cancelled.stderr
    cluster.cancel(hog)
    listed = submitted.biodist("status", str(folder.root), "--json")
    assert [json.loads(line)["state"] for line in listed.stdout.splitlines()] == ["cancelled"] * 3
    assert not [AttemptRecord.load(attempt.record) for run in folder.runs() for attempt in run.attempts()]


def test_what_slurm_refuses_leaves_no_folder(submitted: Submitted) -> None:
    root = submitted.run.root
    where = ("--on", str(submitted.profile(gpus_per_node=7)), "--run", str(root))
    done = submitted.biodist("submit", str(submitted.ground.recipe), "--seeds", "2", *where)
    assert done.returncode == 4 and "Slurm refuses the array" in done.stderr, done.stderr
    assert not root.exists()
