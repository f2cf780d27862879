"""Seeds read from made-up results, honest and tampered with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from biodist.config.loading import load_recipe
from biodist.config.writing import recipe_yaml
from biodist.errors import RunFailed, UserError
from biodist.metrics.seeds import SeedsSummary, refuse_strangers, summary_of, with_seed
from biodist.run.folder import SeedsFolder
from biodist.run.records import Result

pytestmark = pytest.mark.timeout(120)
RECIPE = """\
name: tiny
task: ner
model: {init: scratch}
data:
  labels: [Disease]
  train: [{path: train.tsv, format: iob2}]
train: {epochs: 1, seed: 42}
"""


@pytest.fixture
def folder(tmp_path: Path) -> SeedsFolder:
    """Seeds 42 to 44, finished, with scores that differ, and 45, which failed."""
    (tmp_path / "train.tsv").write_text("gout\tB-Disease\n\n")
    (tmp_path / "tiny.yaml").write_text(RECIPE.replace("train.tsv", str(tmp_path / "train.tsv")))
    made = SeedsFolder.prepare(tmp_path / "seeds")
    for number, seed in enumerate((42, 43, 44, 45)):
        write_seed(made, tmp_path / "tiny.yaml", seed, {42: 0.80, 43: 0.82, 44: 0.87, 45: 0.1}[seed], number)
    return made


def write_seed(folder: SeedsFolder, recipe: Path, seed: int, f1: float, number: int) -> None:
    run = folder.run(seed)
    run.root.mkdir()
    run.recipe.write_text(recipe_yaml(with_seed(load_recipe(str(recipe)), seed)))
    Result(
        status="failed" if seed == 45 else "finished",
        steps=10 + number,
        samples_seen=60,
        tokens_seen=600,
        train_seconds=1.0,
        tokens_per_second=600.0,
        weights_sha256=f"{number:064d}",
        metrics={"test": {"f1": f1, "types": {"Disease": {"f1": f1 / 2, "support": 7}}, "confusion": [[1, 2], [3, 4]]}},
    ).save(run.result)


def test_only_finished_seeds_count(folder: SeedsFolder) -> None:
    summary = summary_of(folder)
    assert summary.finished == (42, 43, 44)
    assert [(run.seed, run.run, run.state) for run in summary.runs][-1] == (45, "seed-45", "failed")
    of = {(one.split, one.score, one.label): one for one in summary.scores}
    assert set(of) == {("test", "f1", None), ("test", "f1", "Disease")}, "counts and tables have no spread"
    assert of["test", "f1", None].values == {42: 0.80, 43: 0.82, 44: 0.87}
    assert of["test", "f1", None].mean == pytest.approx(0.83) and of["test", "f1", "Disease"].mean == pytest.approx(
        0.415
    )


def test_what_is_kept_reads_back(folder: SeedsFolder) -> None:
    summary = summary_of(folder)
    summary.save(folder.summary)
    assert SeedsSummary.load(folder.summary) == summary
    assert json.loads(folder.summary.read_text())["scores"][0]["values"] == {"42": 0.80, "43": 0.82, "44": 0.87}
    assert summary_of(folder) == summary, "its own file is no seed"


def test_the_scores_of_each_corpus_have_a_spread_under_the_name_of_its_metric(folder: SeedsFolder) -> None:
    for seed, f1 in ((42, 0.5), (43, 0.7)):
        run = folder.run(seed)
        changed = json.loads(run.result.read_text())
        changed["metrics"]["test"]["corpora"] = {"ncbi": {"f1": f1, "types": {"Disease": {"f1": f1}}}}
        run.result.write_text(json.dumps(changed))
    (found,) = [one for one in summary_of(folder).scores if one.score == "ncbi.f1"]
    assert found.label is None and found.mean == pytest.approx(0.6) and found.n == 2


def test_a_score_that_a_seed_lacks_is_counted_by_those_that_have_it(folder: SeedsFolder) -> None:
    run = folder.run(43)
    changed = json.loads(run.result.read_text())
    del changed["metrics"]["test"]["types"]
    run.result.write_text(json.dumps(changed))
    assert [(one.label, one.n) for one in summary_of(folder).scores] == [(None, 3), ("Disease", 2)]


def test_a_seed_counted_twice_is_refused(folder: SeedsFolder) -> None:
    shutil.copytree(folder.run(43).root, folder.run(46).root)
    with pytest.raises(UserError, match=r"named for seed 46, but its recipe says train\.seed: 43") as caught:
        summary_of(folder)
    assert "very weights" in str(caught.value)


def test_a_copy_with_a_forged_recipe_is_refused(folder: SeedsFolder) -> None:
    shutil.copytree(folder.run(43).root, folder.run(46).root)
    recipe = folder.run(46).recipe
    recipe.write_text(recipe.read_text().replace("seed: 43", "seed: 46"))
    with pytest.raises(UserError, match="seed-46: ended with the very weights of seed 43"):
        summary_of(folder)


@pytest.mark.parametrize(("old", "new"), [("eps: 1.0e-08", "eps: 1.0e-06"), ("stride: 64", "stride: 32")])
def test_a_run_of_another_recipe_is_refused(folder: SeedsFolder, tmp_path: Path, old: str, new: str) -> None:
    run = folder.run(44)
    assert old in run.recipe.read_text()
    run.recipe.write_text(run.recipe.read_text().replace(old, new))
    with pytest.raises(UserError, match=rf"seed-44: is of another recipe than the others: .*{old.split(':')[0]}"):
        summary_of(folder)
    with pytest.raises(UserError, match="seed-44"):
        refuse_strangers(folder, load_recipe(str(tmp_path / "tiny.yaml")))


def test_what_may_change_between_attempts_may_differ(folder: SeedsFolder) -> None:
    run = folder.run(44)
    changed = run.recipe.read_text().replace("strategy: ddp", "strategy: zero2")
    assert changed != run.recipe.read_text()
    run.recipe.write_text(changed)
    assert summary_of(folder).finished == (42, 43, 44)


def test_all_that_is_wrong_is_said_at_once(folder: SeedsFolder) -> None:
    folder.run(42).recipe.unlink()
    folder.run(43).recipe.write_text("name: [")
    with pytest.raises(UserError) as caught:
        summary_of(folder)
    assert "seed-42" in str(caught.value) and "seed-43" in str(caught.value)


def test_a_folder_without_seeds_and_a_damaged_result(tmp_path: Path, folder: SeedsFolder) -> None:
    with pytest.raises(UserError, match="holds no run of a seed"):
        summary_of(SeedsFolder(tmp_path / "nowhere"))
    folder.run(43).result.write_text('{"status": ')
    with pytest.raises(RunFailed, match="seed-43"):
        summary_of(folder)


def test_a_seed_that_was_not_begun_is_unfinished(folder: SeedsFolder) -> None:
    folder.run(47).root.mkdir()
    states: dict[int, Any] = {run.seed: run.state for run in summary_of(folder).runs}
    assert states[47] == "unfinished" and states[45] == "failed"
