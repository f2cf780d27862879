"""`model.after`: from a recipe, or a folder, to the run whose model is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from biodist.config.core import core_digest
from biodist.config.loading import load_recipe
from biodist.config.transfer import finished_model
from biodist.errors import UserError
from biodist.run.folder import run_root
from biodist.run.records import Result

FIRST = """\
name: first
task: ner
model: {init: scratch}
data: {labels: [Disease], train: [{path: train.tsv}]}
train: {epochs: 1}
"""
SECOND = FIRST.replace("name: first", "name: second").replace("{init: scratch}", "{after: first.yaml}")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "train.tsv").write_text("x\tO\n")
    (tmp_path / "first.yaml").write_text(FIRST)
    (tmp_path / "second.yaml").write_text(SECOND)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def result(status: str) -> Result:
    return Result(
        status=status,
        steps=1,
        samples_seen=1,
        tokens_seen=1,
        train_seconds=1.0,
        tokens_per_second=1.0,  # type: ignore[arg-type]
    )


def test_a_recipe_leads_to_its_run_and_a_folder_is_one(folder: Path) -> None:
    run = run_root("first", core_digest(load_recipe("first.yaml")), folder.resolve() / "runs")
    assert load_recipe("second.yaml").model.after == str(run)
    run.mkdir(parents=True)
    assert load_recipe("second.yaml", [f"model.after=runs/{run.name}"]).model.after == str(run)


def test_a_run_s_own_recipe_is_read_when_the_first_stage_has_gone(folder: Path) -> None:
    """In RUN/recipe.yaml the folder is named from the root."""
    (folder / "kept.yaml").write_text(SECOND.replace("first.yaml", str(folder / "runs" / "gone")))
    assert load_recipe("kept.yaml").model.after == str(folder / "runs" / "gone")


def test_only_a_finished_run_has_a_model_to_go_on_from(folder: Path) -> None:
    run = folder / "runs" / "x"
    with pytest.raises(UserError, match="the run to go on from is not there"):
        finished_model(str(run))
    run.mkdir(parents=True)
    result("stopped").save(run / "result.json")
    with pytest.raises(UserError, match="the run to go on from is not finished"):
        finished_model(str(run))
    result("finished").save(run / "result.json")
    assert finished_model(str(run)) == run / "model"


def test_no_such_recipe_and_a_circle_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match="there is no such file, and no recipe of that name"):
        load_recipe("second.yaml", ["model.after=frist"])
    (folder / "first.yaml").write_text(FIRST.replace("{init: scratch}", "{after: second.yaml}"))
    with pytest.raises(UserError, match=r"model\.after: first\.yaml leads back to first\.yaml"):
        load_recipe("second.yaml")
