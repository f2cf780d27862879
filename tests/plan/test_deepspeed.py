"""The dictionary as DeepSpeed itself reads it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from biodist.config.recipe import Recipe
from biodist.plan.decide import decide, place
from biodist.plan.index import DataIndex
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan, Plan

RecipeOf = Callable[..., Recipe]

READ_BY_DEEPSPEED = '''
import json, sys
from collections.abc import KeysView
from deepspeed.runtime.config import DeepSpeedConfig


class Watched(dict):
    """Remembers which keys were asked for."""
    asked = set()
    def get(self, key, default=None):
        self.asked.add(key); return super().get(key, default)
    def __getitem__(self, key):
        self.asked.add(key); return super().__getitem__(key)
    def keys(self):
        return KeysView(self)


answers = {}
for name, values in json.load(sys.stdin).items():
    Watched.asked = set()
    read = DeepSpeedConfig(Watched(values))
    answers[name] = {
        "unread": sorted(set(values) - Watched.asked),
        "stage": int(read.zero_config.stage),
        "accumulation": read.gradient_accumulation_steps,
        "micro_batch": read.train_micro_batch_size_per_gpu,
        "clipping": read.gradient_clipping,
        "autocast": [read.torch_autocast_enabled, str(read.torch_autocast_dtype)],
        "low_precision_modules": read.torch_autocast_lower_precision_safe_modules,
        "half": [read.float16_config.enabled, read.bfloat16_config.enabled],
        "dtypes": [str(read.communication_data_type), read.grad_accum_dtype],
        "untested": [read.zero_allow_untested_optimizer, read.zero_force_ds_cpu_optimizer],
        "monitors": [
            read.monitor_config.enabled,
            read.flops_profiler_config.enabled,
            read.comms_config.comms_logger_enabled,
        ],
        "buckets": [read.zero_config.reduce_bucket_size, read.zero_config.allgather_bucket_size],
        "live": [read.zero_config.max_live_parameters, read.zero_config.prefetch_bucket_size],
        "overlap": read.zero_config.overlap_comm,
        "offload": read.zero_config.offload_optimizer.device,
    }
json.dump(answers, open(sys.argv[1], "w"))
'''


@pytest.fixture
def plans(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine, gpu_node: Machine
) -> dict[str, Plan]:
    """A plan of one process for every stage, precision and device."""
    return {
        f"{strategy} {precision} {device}": decide(
            recipe_of(distributed={"strategy": strategy}, train={"precision": precision, "max_grad_norm": 0.5}),
            index,
            model,
            place(laptop if device == "cpu" else gpu_node, 1),
        )
        for strategy, precision, device in product(
            ("zero1", "zero2", "zero3"), ("fp32", "bf16", "fp16"), ("cpu", "cuda")
        )
    }


@pytest.mark.timeout(180)
def test_deepspeed_reads_every_key_as_it_was_meant(plans: dict[str, Plan], tmp_path: Path) -> None:
    answers = _read_by_deepspeed({name: plan.deepspeed for name, plan in plans.items()}, tmp_path)
    assert set(answers) == set(plans)
    for name, plan in plans.items():
        read, shape = answers[name], plan.model.shape
        assert read["unread"] == [], name
        assert read["stage"] == plan.zero_stage
        assert (read["accumulation"], read["clipping"]) == (1, 0.5)
        assert read["micro_batch"] == plan.batch.micro_batch
        dtype = {"fp32": "None", "bf16": "torch.bfloat16", "fp16": "torch.float16"}[plan.precision]
        assert read["autocast"] == [plan.precision != "fp32", dtype]
        assert read["low_precision_modules"] == (None if plan.precision == "fp32" else [])
        assert read["half"] == [False, False]
        assert read["dtypes"] == ["torch.float32", "fp32"]
        assert read["untested"] == [True, False]
        assert read["monitors"] == [False, False, False]
        summed, gathered = read["buckets"]
        assert summed % 16 == gathered % 16 == 0  # DeepSpeed refuses one that is not aligned
        assert 0 <= gathered - shape.parameters < 16  # the model is smaller than any bucket
        most = shape.layer_parameters if plan.machine.device == "cpu" else shape.parameters
        assert 0 <= summed - most < 16  # on a CPU a bucket is a layer
        if plan.zero_stage == 3:
            assert read["live"] == [2 * shape.layer_parameters, shape.layer_parameters]
        assert read["overlap"] is (plan.machine.device == "cuda")
        assert read["offload"] == "none"


def _read_by_deepspeed(configurations: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    script, answer = tmp_path / "read.py", tmp_path / "answer.json"
    script.write_text(READ_BY_DEEPSPEED)
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, str(script), str(answer)],
        input=json.dumps(configurations),
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert run.returncode == 0, run.stderr
    answers: dict[str, Any] = json.loads(answer.read_text())
    return answers


def test_nothing_is_left_to_auto(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        leaves = list(_leaves(plan.deepspeed))
        assert len(leaves) > 30
        assert not any(leaf in ("auto", None) for leaf in leaves)


def test_batches_are_what_deepspeed_checks_at_any_world_size(
    recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine
) -> None:
    for processes in (1, 2, 3, 7):
        plan = decide(recipe_of(distributed={"strategy": "zero2"}), index, model, place(laptop, processes))
        assert plan.deepspeed is not None
        assert plan.deepspeed["train_batch_size"] == plan.batch.micro_batch * processes


def test_ddp_has_none(recipe_of: RecipeOf, index: DataIndex, model: ModelPlan, laptop: Machine) -> None:
    plan = decide(recipe_of(distributed={"strategy": "ddp"}), index, model, place(laptop, 2))
    assert (plan.deepspeed, plan.zero_stage) == (None, 0)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    else:
        yield value
