"""Several recipes become one array, each a run of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from biodist.run.folder import RunFolder
from biodist.run.jobs import Submission
from biodist.run.records import Result

from .submitted import Submitted, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]
__all__ = ["ground", "submitted"]


def recipes(submitted: Submitted, folder: Path, *seeds: int) -> list[str]:
    """The ground's recipe with other seeds, one file each."""
    text = submitted.ground.recipe.read_text()
    made = []
    for seed in seeds:
        path = folder / f"seed-{seed}.yaml"
        path.write_text(text.replace("seed: 7", f"seed: {seed}").replace("name: struck", f"name: seed-{seed}"))
        made.append(str(path))
    return made


def runs(submitted: Submitted) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted((submitted.ground.folder / "runs").glob("seed-*"))]


def test_two_recipes_are_two_runs_of_one_array(submitted: Submitted, tmp_path: Path) -> None:
    done = submitted.biodist(
        *("submit", *recipes(submitted, tmp_path, 1, 2), "train.max_steps=6", "train.epochs=null"),
        *("--on", "devcluster", "--nproc", "1"),
    )
    assert done.returncode == 0, done.stderr
    made = runs(submitted)
    assert len(made) == 2
    ids = [Submission.load(run.jobs()[0].submission).jobs[0].job_id for run in made]
    array = ids[0].partition("_")[0]
    submitted.cluster.jobs.append(array)
    assert ids == [f"{array}_0", f"{array}_1"]
    assert all(str(run.root) in done.stdout for run in made)
    for run in made:
        submitted.cluster.wait_until(run.result.exists, lambda: submitted.cluster.slurm("squeue", "--all"), 240)
        assert Result.load(run.result).status == "finished"
    assert len({Result.load(run.result).weights_sha256 for run in made}) == 2
    logs = submitted.biodist("logs", str(made[1].root))
    assert f"job {array}_1 on" in logs.stdout
    assert f"job {array}_0 on" not in logs.stdout


def test_one_wrong_recipe_of_several_submits_none(submitted: Submitted, tmp_path: Path) -> None:
    before = runs(submitted)
    first, second = recipes(submitted, tmp_path, 3, 4)
    Path(second).write_text(Path(second).read_text().replace("global_batch: 8", "global_batch: 0"))
    done = submitted.biodist("submit", first, second, "--on", "devcluster")
    assert done.returncode == 2
    assert "global_batch" in done.stderr
    assert runs(submitted) == before
    assert submitted.cluster.status()["jobs"] == []


def test_what_slurm_refuses_leaves_no_run(submitted: Submitted, tmp_path: Path) -> None:
    before = runs(submitted)
    where = ("--on", str(submitted.profile(gpus_per_node=7)))
    done = submitted.biodist("submit", *recipes(submitted, tmp_path, 5, 6), *where)
    assert done.returncode == 4
    assert "Slurm refuses the array" in done.stderr
    assert runs(submitted) == before
