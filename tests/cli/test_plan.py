"""`biodist plan` as a person runs it, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biodist.plan.plan import Plan
from biodist.plan.shape import scratch_shape

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
PAIRS = """\
name: pairs
task: nli
model: {init: scratch, scratch: {layers: 1, hidden_size: 32, heads: 2, intermediate_size: 64, vocab_size: 200}}
data:
  max_length: 64
  labels: [yes, no]
  train: [{path: pairs.jsonl, format: jsonl}]
train: {epochs: 1, global_batch: 4}
"""
ENCODER = {
    "model_type": "bert",
    "vocab_size": 8,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 32,
}
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


def write_encoder(folder: Path, config: dict[str, object]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "rare", ".")))
    (folder / "pytorch_model.bin").write_bytes(b"weights are not read by a plan")


def biodist(
    work: Path, *arguments: str, watched: bool = False, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    start = ["-c", WATCHED] if watched else ["-m", "biodist.cli"]
    environment = os.environ | {"BIODIST_CACHE": str(work / "cache"), "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "80"}
    environment |= {"XDG_CONFIG_HOME": str(work / "config")} | ({} if path is None else {"PATH": path})
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
    for part in ("weights ", "gradients ", "optimizer ", "activations ", "buffers ", "libraries ", "checkpoint "):
        assert part in said
    assert "sent to other processes in a step: " in said
    ways = [line.split() for line in said.splitlines() if line.endswith(("  fits", "  does not fit"))]
    assert len(ways) == 12
    assert ["*", "zero2"] in [way[:2] for way in ways]
    (head,) = [line for line in said.splitlines() if "sends a step" in line]
    assert head.split("a process ")[1].split()[:5] == ["weights", "gradients", "optimizer", "activations", "buffers"]
    for way in ways:
        assert way.count("MB") + way.count("-") == 7, way  # a process, its five parts, what it sends
    assert (
        "the cheapest that fits: ddp; add distributed.strategy=ddp distributed.offload=none "
        "model.activation_checkpointing=false"
    ) in said
    assert "ZeRO is not needed: ddp fits" in said
    assert said.splitlines()[-1] == "biodist train tiny.yaml train.global_batch=5 --nproc 2 --device cpu"


def test_the_plan_itself(work: Path) -> None:
    answer = biodist(work, "plan", "tiny.yaml", "--json")
    assert answer.returncode == 0, answer.stderr
    plan = Plan.model_validate_json(answer.stdout)
    assert plan.batch.total_steps == 6
    assert plan.data.splits["train"].samples == 10
    assert plan.recipe.data.train[0].path == str(work / "train.tsv")
    assert plan.command == ("biodist", "train", "tiny.yaml")
    assert (plan.choices[0].strategy, plan.choices[0].fits, len(plan.choices)) == ("ddp", True, 12)
    assert plan.memory.communication == 0  # alone
    assert Path(plan.data.store).is_relative_to(work / "cache")
    assert biodist(work, "plan", "tiny.yaml", "--json").stdout == answer.stdout


def test_a_plan_for_a_cluster_and_its_very_script(work: Path) -> None:
    arguments = ("tiny.yaml", "train.precision=fp16", "--on", "devcluster", "--nodes", "2")
    answer = biodist(work, "plan", *arguments)
    assert answer.returncode == 0, answer.stderr
    said, _, rest = answer.stdout.partition("\n#!/bin/bash\n")
    assert "cluster           profile devcluster, partition low: 2 nodes of 2 GPUs, 2 CPUs, 4 GB" in said
    assert "at most 60 min, 4.0 GPU hours a job; asked to save and stop 60 s before" in said
    assert "2 nodes × 2 processes on CPUs of devcluster (cpu, gloo), 1 thread each" in said
    assert "note: train.precision: fp16 needs a GPU; bf16 is used instead" in said
    assert "ranks run on the CPU with gloo; the 2 GPUs asked for on a node stay unused" in said
    assert rest.splitlines()[-1] == "biodist submit " + " ".join(arguments)
    given = {line for line in rest.splitlines() if line.startswith("#SBATCH")}
    assert {"#SBATCH --partition=low", "#SBATCH --nodes=2", "#SBATCH --signal=USR2@60", "#SBATCH --time=60"} <= given
    (output,) = [line for line in given if line.startswith("#SBATCH --output=")]
    assert f"={work}/runs/tiny-" in output and "/jobs/0001/" in output
    assert not (work / "runs").exists()  # a plan leaves nothing but the index


SMALL_GPUS = "gpus_per_node: 8\ngpu_memory_gb: 2.4\nmemory_gb: 100\ntime_limit_min: 30\n"
LARGER = ("model.scratch.layers=24", "model.scratch.hidden_size=1024", "model.scratch.heads=16")


def test_what_does_not_fit_is_refused_and_the_cheapest_way_that_fits_is_named(work: Path) -> None:
    (work / "small.yaml").write_text(SMALL_GPUS)
    arguments = ("tiny.yaml", *LARGER, "--on", "small.yaml")
    answer = biodist(work, "plan", *arguments, "distributed.strategy=ddp")
    assert answer.returncode == 4, answer.stderr
    assert answer.stdout == ""
    said = answer.stderr.split()
    assert "Traceback" not in answer.stderr
    advice = [word for word in said if word.startswith(("distributed.", "model.activation"))]
    assert len(advice) == 3 and "distributed.strategy=ddp" not in advice
    followed = biodist(work, "plan", *arguments, *advice)
    assert followed.returncode == 0, followed.stderr
    assert "the plan's is the cheapest that fits" in followed.stdout
    assert "ZeRO is needed: ddp takes " in followed.stdout


def test_pairs_have_a_head_of_their_own(work: Path) -> None:
    lines = [{"sentence1": "Ataxia is rare.", "sentence2": "It is rare.", "gold_label": name} for name in ("yes", "no")]
    (work / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines * 4))
    (work / "pairs.yaml").write_text(PAIRS)
    answer = biodist(work, "plan", "pairs.yaml", "--json")
    assert answer.returncode == 0, answer.stderr
    plan = Plan.model_validate_json(answer.stdout)
    tokens = scratch_shape(plan.recipe.model.scratch, plan.data.vocab_size, 2)
    assert plan.model.shape.parameters == tokens.parameters + 32 * 32 + 32  # the pooler
    assert plan.model.head is None


def test_a_trained_head_in_another_order_is_said(work: Path) -> None:
    lines = [{"sentence1": "is rare", "sentence2": "rare .", "gold_label": name} for name in ("yes", "no")]
    (work / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines * 4))
    (work / "pairs.yaml").write_text(PAIRS)
    config = ENCODER | {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "no", "1": "yes"},
        "max_position_embeddings": 64,
    }
    write_encoder(work / "trained", config)
    arguments = ("pairs.yaml", "model.init=pretrained", "model.name=trained")
    answer = biodist(work, "plan", *arguments)
    assert answer.returncode == 0, answer.stderr
    assert "note: model.name: its classifier's rows are put into the order of data.labels, by name" in answer.stdout
    write_encoder(work / "trained", config | {"id2label": {"0": "no", "1": "perhaps"}})
    other = biodist(work, "plan", *arguments)
    assert "its classifier knows other classes (no, perhaps) than data.labels: a new one is drawn" in other.stdout


def test_gpu_hours_of_exclusive_nodes_count_every_gpu(work: Path) -> None:
    said = biodist(work, "plan", "tiny.yaml", "--on", "h100x8", "--nodes", "3", "--nproc", "2").stdout
    assert "3 nodes of 2 GPUs, 24 CPUs, 900 GB" in said
    assert "at most 1,440 min, 576.0 GPU hours a job" in said
    assert "3 nodes × 2 processes on NVIDIA H100 80GB HBM3 (cuda, nccl), 12 threads each" in said


def test_a_cluster_is_planned_for_without_a_look_at_this_machine(work: Path) -> None:
    tool = work / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n: > {work}/asked\n")
    tool.chmod(0o755)
    path = f"{tool.parent}:/usr/bin:/bin"
    plan = Plan.model_validate_json(biodist(work, "plan", "tiny.yaml", "--on", "a100x8", "--json", path=path).stdout)
    assert not (work / "asked").exists()
    assert (plan.machine.device, plan.machine.world_size) == ("cuda", 8)
    assert plan.profile is not None and plan.profile.name == "a100x8"
    assert biodist(work, "plan", "tiny.yaml", path=path).returncode == 0
    assert (work / "asked").exists()  # here it is asked, so that the line above can fail


def test_ones_own_profile_by_name_and_by_path(work: Path) -> None:
    text = "memory_gb: 8\ntime_limit_min: 30\nprocesses_per_node: 3\n"
    for path in (work / "config" / "biodist" / "profiles" / "cpu.yaml", work / "mine.yaml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, known in (("cpu", "cpu"), ("mine.yaml", "mine")):
        plan = Plan.model_validate_json(biodist(work, "plan", "tiny.yaml", "--on", name, "--json").stdout)
        assert plan.profile is not None
        assert (plan.profile.name, plan.machine.world_size) == (known, 3)


def test_nothing_heavy_is_imported(work: Path) -> None:
    for arguments in (
        ("--help",),
        ("plan", "tiny.yaml"),
        ("plan", "tiny.yaml", "--json"),
        ("plan", "tiny.yaml", "--on", "cpu"),
    ):
        answer = biodist(work, *arguments, watched=True)
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr.splitlines()[-1] == "heavy imports:"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--on", "devclster"), 2, "did you mean devcluster?"),
        (("--nodes", "2"), 2, "--nodes 2: counts nodes of a cluster, but no profile is given"),
        (("--on", "cpu", "--device", "cpu"), 2, "--device cpu: the profile decides it"),
        (("--on", "a100x8", "--nproc", "9"), 4, "9 processes a node need 9 GPUs, but a node of profile a100x8 has 8"),
        (("--on", "none", "train.epoch=3"), 2, "2 problems to mend first"),
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
    write_encoder(work / "encoder", ENCODER)
    answer = biodist(work, "plan", "tiny.yaml", "model.init=pretrained", "model.name=encoder")
    assert answer.returncode == 2, answer.stderr
    assert "data.max_length: is 64, but " in answer.stderr
    assert "positions for 32 tokens" in answer.stderr
