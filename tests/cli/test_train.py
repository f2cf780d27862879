"""`biodist train` on its good days: what it says, what it leaves, and what it never leaves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biodist.metrics.samples import verify_chain

pytestmark = pytest.mark.timeout(280)
CHATTER = ("Warning", "warn", "DeepSpeed", "[INFO]", "ds_accelerator", "Traceback", "Some weights", "%|")
LOG_BYTES = 2000
Undisturbed = Callable[[str, int], Any]


@pytest.fixture(scope="module")
def zero2(undisturbed: Undisturbed) -> Any:
    return undisturbed("zero2", 2)


@pytest.fixture(scope="module")
def ddp(undisturbed: Undisturbed) -> Any:
    return undisturbed("ddp", 2)


def test_a_run_ends_with_everything_a_run_has(zero2: Any, tools: Any) -> None:
    assert zero2.said.code == 0, zero2.said.text
    result = json.loads((zero2.run / "result.json").read_text())
    assert result["status"] == "finished" and result["steps"] == tools.STEPS
    assert result["samples_seen"] == 6 * tools.STEPS and result["micro_batches"] == [2]
    assert len(result["weights_sha256"]) == 64 and result["best_step"] in (45, 90, tools.STEPS)
    assert set(result["metrics"]) == {"validation", "test"} and 0 < result["metrics"]["test"]["f1"] < 1
    for name in (
        "recipe.yaml",
        "provenance.json",
        "samples.jsonl",
        "metrics.jsonl",
        "tensorboard",
        "model/config.json",
    ):
        assert (zero2.run / name).exists(), name
    assert verify_chain(zero2.run / "samples.jsonl") is None
    assert not (zero2.run / "lease.json").exists()


def test_the_output_says_where_the_run_is_and_ends_with_a_table(zero2: Any) -> None:
    said = zero2.said
    assert f"run {zero2.run}, attempt 1: 2 processes (cpu, zero2), 120 steps of 6 samples" in said.err
    assert "Disease" in said.out and "tensorboard --logdir" in said.out and str(zero2.run) in said.out


@pytest.mark.parametrize("strategy", ["ddp", "zero2"])
def test_no_library_speaks_and_logs_stay_small(undisturbed: Undisturbed, strategy: str) -> None:
    made = undisturbed(strategy, 2)
    found = [word for word in CHATTER if word in made.said.text]
    assert not found, made.said.text
    assert "\x1b" not in made.said.text and "\r" not in made.said.text
    for log in (made.run / "attempts" / "0001").glob("rank-*.log"):
        assert log.stat().st_size < LOG_BYTES, log.read_text()
        assert not any(word in log.read_text() for word in CHATTER if word != "DeepSpeed"), log.read_text()


def test_two_commands_on_one_run_the_second_is_refused(ddp: Any) -> None:
    record = json.loads((ddp.run / "attempts" / "0001" / "attempt.json").read_text())
    assert ddp.second.code == 4, ddp.second.text
    assert f"process {record['pid']} on {record['host']}" in ddp.second.err
    assert f"kill {record['pid']}" in ddp.second.err and "Traceback" not in ddp.second.err
    assert ddp.said.code == 0, ddp.said.text
    assert [path.name for path in (ddp.run / "attempts").iterdir()] == ["0001"]


def test_a_finished_run_is_left_as_it_is(ddp: Any, terminal: Any, tools: Any) -> None:
    before = tools.tree(ddp.run)
    said = terminal.train("ddp-2", 2, "distributed.strategy=ddp")
    assert said.code == 0, said.text
    assert "is finished: nothing to do" in said.err and "--run" in said.err and "train.seed=43" in said.err
    assert tools.tree(ddp.run) == before


def test_another_core_is_refused_by_its_keys(ddp: Any, terminal: Any, tools: Any) -> None:
    before = tools.tree(ddp.run)
    said = terminal.train("ddp-2", 2, "train.seed=43", "model.dropout=0.2")
    assert said.code == 2, said.text
    assert "train.seed: 42 and 43" in said.err and "model.dropout: 0.1 and 0.2" in said.err and "--run" in said.err
    assert tools.tree(ddp.run) == before


def test_no_text_of_the_corpus_leaves_it(ddp: Any, zero2: Any, tools: Any) -> None:
    """Only vocabularies hold text: those of a model made from nothing lie with the model."""
    for made in (ddp, zero2):
        assert tools.MARKER not in made.said.text + made.second.text
        holders = {
            str(path.relative_to(made.run))
            for path in made.run.rglob("*")
            if path.is_file() and tools.MARKER.encode() in path.read_bytes()
        }
        assert holders <= {"encoder/tokenizer.json", "model/tokenizer.json", "encoder/vocab.txt", "model/vocab.txt"}
        assert holders, "the marker is no word of the vocabulary: this test proves nothing"


def test_not_a_number_names_step_and_samples(terminal: Any) -> None:
    said = terminal.train("nan", 1, "train.learning_rate=1e30", "train.max_grad_norm=0")
    assert said.code == 3, said.text
    step = 1 + steps_made(terminal.folder / "nan" / "attempts" / "0001" / "events-rank-0.jsonl")
    assert f"step {step}: loss" in said.err and "not a number" in said.err and "train.learning_rate" in said.err
    assert said.err.count("tiny:") >= 6
    result = json.loads((terminal.folder / "nan" / "result.json").read_text())
    assert result["status"] == "failed" and result["steps"] == step - 1 and result["metrics"] == {}
    assert "Traceback" not in said.err


def steps_made(events: Path) -> int:
    steps = [json.loads(line) for line in events.read_text().splitlines()]
    losses = [event["loss"] for event in steps if event["kind"] == "step"]
    assert all(math.isfinite(loss) for loss in losses)
    return len(losses)
