"""`biodist evaluate` and `biodist export` on a finished run: the same figures, the same logits, nothing overwritten."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module")
def finished(undisturbed: Callable[[str, int], Any]) -> Path:
    made = undisturbed("ddp", 2)
    assert made.said.code == 0, made.said.text
    run: Path = made.run
    return run


@pytest.fixture(scope="module")
def result(finished: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((finished / "result.json").read_text())
    return values


def test_evaluate_gives_the_figures_of_the_result(terminal: Any, finished: Path, result: dict[str, Any]) -> None:
    said = terminal.run("evaluate", finished.name, "--json")
    assert said.code == 0, said.text
    scores = json.loads(said.out)[finished.name]
    assert set(scores) == {"validation", "test"}
    for split, expected in result["metrics"].items():
        # One process sums the loss in another order than two; what was predicted is the same.
        assert scores[split].pop("loss") == pytest.approx(expected["loss"], rel=1e-5)
        assert scores[split] == {name: value for name, value in expected.items() if name != "loss"}


def test_evaluate_names_every_folder_that_is_no_finished_run(terminal: Any, finished: Path) -> None:
    said = terminal.run("evaluate", finished.name, "nowhere", "cache", "--split", "test")
    assert said.code == 2 and "2 problems" in said.err and "nowhere" in said.err and "cache" in said.err
    assert said.out == ""


def test_evaluate_names_the_splits_there_are(terminal: Any, finished: Path) -> None:
    said = terminal.run("evaluate", finished.name, "nowhere", "--split", "train", "--split", "dev")
    assert said.code == 2 and said.err.count("this run has: validation, test") == 2 and "nowhere" in said.err
    assert "3 problems" in said.err and said.out == ""


def test_a_plan_of_another_version_is_said(terminal: Any, finished: Path) -> None:
    """Of evaluate and predict alike: no traceback, and where to look."""
    other = terminal.folder / "of-another-version"
    shutil.copytree(finished, other)
    (plan,) = other.glob("attempts/*/plan.json")
    written = json.loads(plan.read_text())
    written["recipe"]["data"]["streaming"] = True
    plan.write_text(json.dumps(written))
    for command in (["evaluate", other.name], ["predict", other.name, "train.tsv"]):
        said = terminal.run(*command)
        assert said.code == 2 and "Traceback" not in said.text
        assert "plan.json: is not a plan of this version of biodist; wrong: recipe.data.streaming" in said.err
        assert "use the biodist that wrote it (provenance.json), or start the run again" in said.err


def logits(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = AutoModelForTokenClassification.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    batch = tokenizer(["patients with severe gout and mild asthma", "treated"], padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(**batch).logits


def test_an_export_loads_and_gives_the_logits_of_the_run(terminal: Any, finished: Path, result: dict[str, Any]) -> None:
    best = terminal.run("export", finished.name, "out/best")
    step = terminal.run("export", finished.name, "out/step", "--step", str(result["best_step"]))
    assert best.code == step.code == 0, best.text + step.text
    expected = logits(finished / "model")
    assert expected.shape[-1] == 3 and expected.std() > 0
    for name in ("best", "step"):
        assert (logits(terminal.folder / "out" / name) == expected).all(), name


def test_the_last_step_exports_the_weights_of_the_digest(
    terminal: Any, finished: Path, tools: Any, result: dict[str, Any]
) -> None:
    said = terminal.run("export", finished.name, "out/last", "--step", str(tools.STEPS))
    assert said.code == 0, said.text
    assert digest_of(terminal.folder / "out" / "last" / "model.safetensors") == result["weights_sha256"]


def digest_of(weights: Path) -> str:
    """`weights_sha256` as docs/checkpoints.md has it, from a safetensors file."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, values in sorted(load_file(weights).items()):
        shape = ",".join(str(size) for size in values.shape)
        digest.update(f"{name}\0{shape}\0".encode() + values.astype("<f4").tobytes())
    return digest.hexdigest()


def test_what_is_there_is_never_overwritten(terminal: Any, finished: Path) -> None:
    there = terminal.folder / "there"
    there.mkdir()
    (there / "mine.txt").write_text("mine")
    said = terminal.run("export", finished.name, "there")
    assert said.code == 2 and "is already there" in said.err and "name a new folder" in said.err
    assert [path.name for path in there.iterdir()] == ["mine.txt"]


def test_a_step_that_is_not_kept_and_a_folder_that_is_no_run(terminal: Any, finished: Path) -> None:
    said = terminal.run("export", finished.name, "none", "--step", "7")
    assert said.code == 2 and "has no checkpoint of step 7" in said.err and "step-00000120" in said.err
    assert terminal.run("export", "cache", "none").code == 2
    assert not (terminal.folder / "none").exists()


def test_an_unfinished_run_has_no_best_step(desk: Any, finished: Path) -> None:
    run = desk.folder / "unfinished"
    for name in ("recipe.yaml", "lease.lock"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes((finished / name).read_bytes())
    said = desk.run("export", "unfinished", "none")
    assert said.code == 2 and "is not finished" in said.err and "--step" in said.err
    assert desk.run("evaluate", "unfinished").code == 2
    assert not (desk.folder / "none").exists()
