"""`biodist plan` as a person runs it, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biodist.plan.plan import Plan

RECIPE = """\
name: tiny
task: ner
model: {init: scratch, scratch: {layers: 1, hidden_size: 32, heads: 2, intermediate_size: 64, vocab_size: 200}}
data:
  max_length: 64
  stride: 8
  labels: [Disease]
  train: [{path: train.tsv}]
  validation: [{path: devel.tsv}]
train: {epochs: 2, global_batch: 4}
distributed: {strategy: zero2}
"""
SENTENCE = "Ataxia\tB-Disease\nis\tO\nrare\tO\n.\tO\n\n"
HEAVY = ("torch", "transformers", "ray", "deepspeed", "accelerate", "datasets")
WATCHED = f"""
import sys
from biodist.cli.app import app
try:
    app()
finally:
    found = [name for name in {HEAVY} if name in sys.modules]
    print("heavy imports:", *found, file=sys.stderr)
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    (tmp_path / "train.tsv").write_text(SENTENCE * 10)
    (tmp_path / "devel.tsv").write_text(SENTENCE * 3)
    return tmp_path


def biodist(work: Path, *arguments: str, watched: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-c", WATCHED] if watched else ["-m", "biodist.cli"]
    environment = os.environ | {"BIODIST_CACHE": str(work / "cache"), "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, *start, *arguments], cwd=work, env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_plan_to_read(work: Path) -> None:
    answer = biodist(work, "plan", "tiny.yaml", "train.global_batch=5", "--nproc", "2", "--device", "cpu")
    assert answer.returncode == 0, answer.stderr
    said = answer.stdout
    assert "train: 10 samples, 10 windows" in said
    assert "2 processes on " in said
    assert "zero2: ZeRO stage 2; fp32; unpadded rows" in said
    assert "4 of 5 samples, 2 an epoch, 1 of warm-up; scored every 2" in said
    assert "micro-batches of 3 windows: a process's share of one step" in said
    assert "weights " in said and "optimizer " in said and "checkpoint " in said
    assert said.splitlines()[-1] == "biodist train tiny.yaml train.global_batch=5 --nproc 2 --device cpu"


def test_the_plan_itself(work: Path) -> None:
    answer = biodist(work, "plan", "tiny.yaml", "--json")
    assert answer.returncode == 0, answer.stderr
    plan = Plan.model_validate_json(answer.stdout)
    assert plan.batch.total_steps == 6
    assert plan.data.splits["train"].samples == 10
    assert plan.recipe.data.train[0].path == str(work / "train.tsv")
    assert plan.command == ("biodist", "train", "tiny.yaml")
    assert Path(plan.data.store).is_relative_to(work / "cache")
    assert biodist(work, "plan", "tiny.yaml", "--json").stdout == answer.stdout


def test_nothing_heavy_is_imported(work: Path) -> None:
    for arguments in (("--help",), ("plan", "tiny.yaml"), ("plan", "tiny.yaml", "--json")):
        answer = biodist(work, *arguments, watched=True)
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr.splitlines()[-1] == "heavy imports:"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--on", "cluster"), 2, "--on cluster: comes with Slurm"),
        (("--nodes", "2"), 2, "--nodes 2: comes with Slurm"),
        (("--device", "tpu"), 2, "--device: must be one of auto, cpu, cuda, but is 'tpu'"),
        (("--device", "cuda"), 4, "a GPU was asked for, but "),
        (("data.max_length=600",), 2, "data.max_length"),
        (("train.epoch=3",), 2, "train.epochs"),
        (("data.train.0.path=absent.tsv", "data.validation.0.path=gone.tsv"), 2, "gone.tsv"),
    ],
)
def test_what_cannot_be_planned(work: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    answer = biodist(work, "plan", "tiny.yaml", *arguments)
    assert answer.returncode == code, answer.stderr
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
    assert not (work / "cache").exists()  # nothing was read or built before the refusal


def test_an_unreadable_encoder(work: Path) -> None:
    (work / "encoder").mkdir()
    (work / "encoder" / "config.json").write_text("{")
    answer = biodist(work, "plan", "tiny.yaml", "model.init=pretrained", "model.name=encoder")
    assert answer.returncode == 2
    assert "3 problems to mend first" in answer.stderr
    for said in ("config.json: is not JSON", "has no tokenizer", "has no weights"):
        assert said in answer.stderr


def test_an_encoder_whose_positions_are_too_few(work: Path) -> None:
    config = {
        "model_type": "bert",
        "vocab_size": 8,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "max_position_embeddings": 32,
    }
    folder = work / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "rare", ".")))
    (folder / "pytorch_model.bin").write_bytes(b"weights are not read by a plan")
    answer = biodist(work, "plan", "tiny.yaml", "model.init=pretrained", "model.name=encoder")
    assert answer.returncode == 2, answer.stderr
    assert "data.max_length: is 64, but " in answer.stderr
    assert "positions for 32 tokens" in answer.stderr
