"""The DeepSpeed configuration of a plan: complete, nothing left to "auto"."""

from __future__ import annotations

from typing import Any

from biodist.config.recipe import Recipe
from biodist.plan.buckets import Buckets
from biodist.plan.plan import ModelShape, Precision

NEVER = 10**9  # steps between two lines of DeepSpeed's own
SUB_GROUP = 10**9  # elements: a process's part is updated in one piece


def deepspeed_configuration(
    recipe: Recipe,
    stage: int,
    world_size: int,
    micro_batch: int,
    precision: Precision,
    shape: ModelShape,
    buckets: Buckets,
) -> dict[str, Any]:
    """What DeepSpeed is given under ZeRO ``stage`` 1, 2 or 3.

    Its batch sizes are bookkeeping: biodist cuts the global batch itself, sets the boundary of a step at its last
    micro-batch, and divides the loss by the targets of the whole global batch. So accumulation is 1 here, and
    `train_batch_size` is what DeepSpeed checks it against: micro-batch times processes.
    """
    return {
        "train_batch_size": micro_batch * world_size,
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": recipe.train.max_grad_norm,
        "prescale_gradients": False,
        "gradient_predivide_factor": 1.0,
        "communication_data_type": "fp32",
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": _zero(recipe, stage, shape, buckets),
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "torch_autocast": _autocast(precision),
        "bf16": {"enabled": False},
        "fp16": {"enabled": False},
        "steps_per_print": NEVER,
        "wall_clock_breakdown": False,
        "memory_breakdown": False,
        "dump_state": False,
        # No comms_logger section: DeepSpeed turns it on when there is one, whatever it says.
        "flops_profiler": {"enabled": False},
        "tensorboard": {"enabled": False},
        "wandb": {"enabled": False},
        "comet": {"enabled": False},
        "csv_monitor": {"enabled": False},
        "checkpoint": {"tag_validation": "Fail", "load_universal": False, "use_node_local_storage": False},
    }


def _zero(recipe: Recipe, stage: int, shape: ModelShape, buckets: Buckets) -> dict[str, Any]:
    place = recipe.distributed.offload
    common = {
        "stage": stage,
        "contiguous_gradients": True,
        "overlap_comm": buckets.overlap,
        "reduce_scatter": True,
        "reduce_bucket_size": buckets.reduce,
        "allgather_partitions": True,
        "allgather_bucket_size": buckets.gather,
        "sub_group_size": SUB_GROUP,
        "round_robin_gradients": False,
        "ignore_unused_parameters": True,
        "elastic_checkpoint": False,
        "offload_optimizer": {"device": place, "pin_memory": place == "cpu" and buckets.overlap},
    }
    if stage < 3:
        return common
    return common | {
        "offload_param": {"device": "none", "pin_memory": False},
        "stage3_prefetch_bucket_size": buckets.prefetch,
        "stage3_param_persistence_threshold": buckets.persistent,
        "stage3_model_persistence_threshold": shape.parameters,
        "stage3_max_live_parameters": buckets.live,
        "stage3_max_reuse_distance": buckets.reuse,
        "stage3_gather_16bit_weights_on_model_save": False,
        "stage3_module_granularity_threshold": 0,
        "stage3_use_all_reduce_for_fetch_params": False,
        "stage3_allgather_sequential": False,
        # Without it the autograd graph keeps every gathered weight alive until the backward pass.
        "memory_efficient_linear": True,
    }


def _autocast(precision: Precision) -> dict[str, Any]:
    """Autocast over fp32 weights. Its list of modules is empty, because what is named there also travels in low
    precision between processes; gradients must be summed in fp32, as under ddp. It does not limit what is computed.
    """
    if precision == "fp32":
        return {"enabled": False}
    dtype = {"bf16": "bfloat16", "fp16": "float16"}[precision]
    return {"enabled": True, "dtype": dtype, "lower_precision_safe_modules": []}
