"""What is wrong with recipe, corpora, model or machine: every problem at once, its place, what to do; nothing made."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(200)
WORD = "zzsecret"  # stands in every bad file and must not be in any message


def refused(desk: Any, *overrides: str, code: int = 2, device: str = "cpu") -> str:
    """What `biodist train` said when it refused, and that it made nothing."""
    said = desk.train("run", 1, *overrides, device=device)
    assert said.code == code, said.text
    assert said.out == "" and "Traceback" not in said.err and WORD not in said.err
    assert not (desk.folder / "run").exists(), list((desk.folder / "run").rglob("*"))
    return str(said.err)


def bad_file(desk: Any, data: bytes, *overrides: str) -> str:
    """What was said of a training file with these bytes."""
    (desk.folder / "bad.tsv").write_bytes(data)
    return refused(desk, "data.train.0.path=bad.tsv", *overrides)


@pytest.mark.parametrize(
    ("data", "place", "what"),
    [
        (b"", "bad.tsv: ", "no sentence"),
        (b"\n\n-DOCSTART-\n\n", "bad.tsv: ", "no sentence"),
        (f"{WORD}\tO\n\0\1\2\3".encode(), "bad.tsv:2: ", "binary"),
        (f"{WORD}\tO\ncaf\xe9 {WORD}\tO\n".encode("latin-1"), "bad.tsv:2: ", "not UTF-8"),
        (f"{WORD}\tO\n".encode("utf-16"), "bad.tsv:1: ", "UTF-16"),
        (f"{WORD}\tO\n{WORD}\n".encode(), "bad.tsv:2: ", "1 column"),
        (f"{WORD}\tO\n{WORD}\tNN\tO\n".encode(), "bad.tsv:2: ", "3 columns where the file began with 2"),
        (f"{WORD}\tO\n\tO\n".encode(), "bad.tsv:2: ", "empty token"),
        (f"{WORD}\tO\n{WORD}\tDisease\n".encode(), "bad.tsv:2: column 2: ", "outside the scheme"),
        (f"{WORD}\tO\n{WORD}\tI-Disease\n".encode(), "bad.tsv:2: ", "I- without B-"),
        (f"{WORD}\tO\n{WORD}\tB-Diseases\n".encode(), "bad.tsv:2: column 2: ", "nearest declared: Disease"),
    ],
    ids=["empty", "blank", "binary", "latin", "utf16", "one", "three", "token", "tag", "sequence", "type"],
)
def test_a_bad_file_is_refused_by_file_and_line(desk: Any, data: bytes, place: str, what: str) -> None:
    said = bad_file(desk, data)
    assert f"{desk.folder}/{place}" in said and what in said, said
    assert "1 problem to mend first" in said and "    -> " in said


def test_every_problem_of_every_file_is_said_at_once(desk: Any) -> None:
    lines = ["a\tO\n", f"{WORD}\n", "\tO\n", f"{WORD}\tX\n", f"{WORD}\tI-Disease\n", "\n", f"{WORD}\tB-Gene\n"]
    (desk.folder / "validation.tsv").write_text("".join(lines))
    (desk.folder / "test.tsv").write_bytes(b"\0")
    said = bad_file(desk, "".join(lines).encode())
    for name in ("bad.tsv", "validation.tsv"):
        assert [line for line in (2, 3, 4, 5, 7) if f"{desk.folder}/{name}:{line}: " not in said] == [], said
    assert f"{desk.folder}/test.tsv:1: " in said and "11 problems to mend first" in said


def test_missing_files_and_unknown_keys_together(desk: Any) -> None:
    said = refused(
        desk,
        *("data.train.0.path=nowhere.tsv", "data.test.0.path=.", "train.lerning_rate=1e-3", "model.dropuot=0.2"),
        *("train.max_steps=many", "nonsense"),
    )
    assert f"there is no file {desk.folder}/nowhere.tsv" in said or "nowhere.tsv" in said
    assert "did you mean train.learning_rate?" in said and "did you mean model.dropout?" in said
    assert "must be a whole number" in said and "key=value" in said


def test_a_mistyped_key_is_placed_by_its_line(desk: Any, tools: Any) -> None:
    recipe = tools.RECIPE.replace("stride: 8", "stirde: 8").replace("every: 45", "evry: 45")
    (desk.folder / "tiny.yaml").write_text(recipe)
    said = refused(desk)
    lines = recipe.splitlines()
    for wrong, right in (("stirde", "data.stride"), ("evry", "evaluate.every")):
        line = 1 + next(number for number, text in enumerate(lines) if wrong in text)
        assert f"tiny.yaml:{line}" in said and f"did you mean {right}?" in said, said


def test_a_recipe_that_is_not_there(desk: Any) -> None:
    said = desk.run("train", "tinny.yaml", "--run", "run")
    assert said.code == 2 and "biodist recipes" in said.err and not (desk.folder / "run").exists()


def test_gpus_that_are_not_there(desk: Any) -> None:
    assert "GPU" in refused(desk, code=4, device="cuda")
    assert "auto, cpu, cuda" in refused(desk, device="tpu")


@pytest.mark.parametrize("weights", [None, b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x10" + b"\0" * 40])
def test_an_unreadable_model_folder(desk: Any, weights: bytes | None) -> None:
    folder = desk.folder / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"')
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
    said = refused(desk, "model.init=pretrained", "model.name=./encoder")
    assert f"{folder}/config.json: is not JSON" in said and f"{folder}: has no tokenizer" in said
    assert "3 problems to mend first" in said and ("model.safetensors" in said or "has no weights" in said)


def test_a_model_that_is_not_there(desk: Any) -> None:
    said = refused(desk, "model.init=pretrained", "model.name=./nowhere")
    assert "model.name" in said and str(desk.folder / "nowhere") in said


def test_a_folder_that_is_no_run_stays_as_it_is(desk: Any, tools: Any) -> None:
    (desk.folder / "run").mkdir()
    (desk.folder / "run" / "thesis.txt").write_text("mine")
    before = tools.tree(desk.folder / "run")
    said = desk.train("run", 1)
    assert said.code == 2 and "is not empty and is not a run" in said.err and "--run" in said.err
    assert desk.train("tiny.yaml", 1).code == 2
    assert tools.tree(desk.folder / "run") == before


def test_a_file_spoilt_after_the_start_leaves_the_run_alone(desk: Any, tools: Any) -> None:
    """The folder of a run that has begun: not one byte is written when the input turns out to be bad."""
    run = desk.folder / "run"
    started = desk.start("run", 1)
    events = run / "attempts" / "0001" / "events-rank-0.jsonl"
    started.wait_for(lambda: events.exists() and "\n" in events.read_text(), "the worker")
    started.process.kill()
    started.said()
    (worker,) = tools.workers_of(run / "attempts" / "0001", 1)
    while tools.alive(worker):
        time.sleep(0.01)
    before = tools.tree(run)
    (desk.folder / "validation.tsv").write_text(f"{WORD}\tI-Disease\n")
    said = desk.train("run", 1)
    assert said.code == 2 and f"{desk.folder}/validation.tsv:1: " in said.err
    assert tools.tree(run) == before


def test_broken_sequences_are_repaired_and_counted_when_asked(desk: Any) -> None:
    lines = (desk.folder / "train.tsv").read_text() + f"{WORD}\tI-Disease\n{WORD}\tO\n{WORD}\tI-Disease\n\n"
    (desk.folder / "train.tsv").write_text(lines)
    assert refused(desk).count("I- without B-") == 2
    said = desk.run("plan", "tiny.yaml", "data.repair=true", "--device", "cpu")
    assert said.code == 0, said.text
    assert "note: data.repair: 2 broken tag sequences mended in train" in said.text.splitlines()
    assert WORD not in said.text


def test_document_lines_and_runs_of_blank_lines_are_fine(desk: Any) -> None:
    plain = (desk.folder / "train.tsv").read_text()
    counted = desk.run("plan", "tiny.yaml", "--device", "cpu", "--json")
    (desk.folder / "train.tsv").write_text("-DOCSTART- -X- O\n\n\n \n" + plain.replace("\n\n", "\n\n\n\t\n\n") + "\n\n")
    recounted = desk.run("plan", "tiny.yaml", "--device", "cpu", "--json")
    assert counted.code == recounted.code == 0, recounted.text
    assert splits(recounted.out) == splits(counted.out)


def splits(plan: str) -> Any:
    return json.loads(plan)["data"]["splits"]
