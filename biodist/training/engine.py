"""One model under one strategy, through Accelerate: forward, backward, update."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from biodist.errors import RunFailed
from biodist.plan.plan import Plan
from biodist.training.batch import Batch, forward_kwargs
from biodist.training.group import Control
from biodist.training.loss_scale import DynamicLossScale
from biodist.training.placement import Placement
from biodist.training.zero_exchange import scatter_sums, share_weights, sum_at_owners, zero_exchange

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
UNSHARED = (
    "the processes share no memory here, so zero3 gathers weights in each: more time and memory than planned (the two "
    "largest layers and the embeddings a process)"
)


class Scorer(nn.Module):
    """A Hugging Face model that returns fp32 logits of one batch, computed under the recipe's precision.

    Autocast lies inside, so that its meaning (low-precision compute over fp32 weights) is the same under every
    strategy, and gradients travel between processes in fp32.
    """

    def __init__(self, model: nn.Module, plan: Plan):
        super().__init__()
        self.model = model
        self.device_type = plan.machine.device
        self.dtype = AUTOCAST.get(plan.precision)
        # ZeRO-3 frees each weight after its use; a cached low-precision copy would keep it alive.
        self.cache_casts = plan.strategy != "zero3"

    def forward(self, batch: Batch) -> Tensor:
        """Logits, (rows, tokens, labels)."""
        with torch.autocast(
            self.device_type, self.dtype, enabled=self.dtype is not None, cache_enabled=self.cache_casts
        ):
            logits: Tensor = self.model(**forward_kwargs(batch)).logits
        return logits.float()


@dataclass(frozen=True)
class Update:
    """What one optimizer step did."""

    grad_norm: float
    skipped: bool  # fp16 alone: the scaled gradients overflowed, the scale was lowered


class Engine:
    """The model, its optimizer and its strategy. The same four calls under ddp, zero1, zero2 and zero3."""

    def __init__(self, model: nn.Module, plan: Plan, placement: Placement, control: Control):
        self.plan = plan
        self.model = model  # parameters under their Hugging Face names
        self.parameters = dict(model.named_parameters())
        self.notice: str | None = None  # what is not as planned, though it trains
        self.loss_scale = DynamicLossScale() if plan.precision == "fp16" else None
        exchange = zero_exchange(plan, control)
        self.accelerator = _accelerator(plan)
        self.scorer = Scorer(model, plan)
        adam = _adam(model, plan, dealt=exchange is not None)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.scorer, adam)
        if self.loss_scale and plan.zero_stage:
            self.zero_optimizer.torch_autocast_gradscaler = None  # ours does its work
        if exchange is not None and plan.zero_stage == 3:
            scatter_sums(self.zero_optimizer, exchange)
            shared = share_weights(self.zero_optimizer, list(self.parameters.values()), exchange)
            self.notice = None if shared or plan.machine.nodes > 1 else UNSHARED
        elif exchange is not None:
            sum_at_owners(self.zero_optimizer, exchange, plan.recipe.distributed.offload == "cpu")
        self._update = Update(0.0, skipped=False)
        _compare(self, plan, placement)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    def buffers(self) -> dict[str, Tensor]:
        """Buffers that belong to the model's state, by name. A model may put others in their place: ask each time."""
        names = self.model.state_dict().keys()
        return {name: buffer for name, buffer in self.model.named_buffers() if name in names}

    @property
    def zero_optimizer(self) -> Any:
        """DeepSpeed's optimizer around ours; None under ddp."""
        return self.wrapped.optimizer if self.plan.zero_stage else None

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """Around forward and backward of one micro-batch: gradients are exchanged in the last one alone (ddp)."""
        if self.plan.zero_stage or last or not hasattr(self.wrapped, "no_sync"):
            yield
        else:
            with self.wrapped.no_sync():
                yield

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.wrapped(batch)
        return logits

    def backward(self, loss: Tensor, learning_rate: float, last: bool) -> None:
        """Adds this micro-batch's gradients; the last one ends in the update (DeepSpeed steps in its backward)."""
        if last:
            self._set_learning_rate(learning_rate)
        if self.plan.zero_stage:
            if self.loss_scale:
                self.zero_optimizer.override_loss_scale(self.loss_scale.scale)
            self.accelerator.deepspeed_engine_wrapped.backward(loss, sync_gradients=last)
        else:
            self.accelerator.backward(loss * self.loss_scale.scale if self.loss_scale else loss)
        if last:
            self._update = self._zero_updated() if self.plan.zero_stage else self._step()
            if self.loss_scale:
                self.loss_scale.update(self._update.skipped)

    def update(self) -> Update:
        """What the update at the end of the last backward did."""
        return self._update

    def _zero_updated(self) -> Update:
        norm = self.accelerator.deepspeed_engine_wrapped.get_global_grad_norm()
        return Update(float(norm if norm is not None else 0.0), bool(self.zero_optimizer.overflow))

    def _step(self) -> Update:
        """ddp's update; skipped where fp16 overflowed."""
        if self.loss_scale:
            torch._foreach_div_([p.grad for p in self.parameters.values() if p.grad is not None], self.loss_scale.scale)
        limit = self.plan.recipe.train.max_grad_norm or float("inf")
        norm = float(self.accelerator.clip_grad_norm_(self.parameters.values(), limit))
        skipped = self.loss_scale is not None and not math.isfinite(norm)
        if not skipped:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Update(math.inf if skipped else norm, skipped)

    def _set_learning_rate(self, learning_rate: float) -> None:
        groups = self.zero_optimizer.param_groups if self.plan.zero_stage else self.optimizer.param_groups
        for group in groups:
            group["lr"] = learning_rate


def _adam(model: nn.Module, plan: Plan, dealt: bool) -> torch.optim.Optimizer:
    """torch's AdamW; DeepSpeed's where the optimizer's state and its work lie on the CPU."""
    train = plan.recipe.train
    groups = _weight_decay_groups(model, train.weight_decay)
    if dealt and plan.zero_stage == 2:
        groups = [group | {"params": _dealt(group["params"], plan.machine.world_size)} for group in groups]
    if plan.recipe.distributed.offload == "cpu":
        from deepspeed.ops.adam import DeepSpeedCPUAdam

        offloaded: torch.optim.Optimizer = DeepSpeedCPUAdam(
            groups, lr=train.learning_rate, betas=train.betas, eps=train.eps, adamw_mode=True
        )
        return offloaded
    return torch.optim.AdamW(groups, lr=train.learning_rate, betas=train.betas, eps=train.eps, fused=True)


def _weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and norms are not decayed (as in BERT's own optimizer). One group when there is nothing to decay; frozen
    parameters are in none."""
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if weight_decay == 0.0:
        return [{"params": [parameter for _, parameter in trained], "weight_decay": 0.0}]
    norms = {id(p) for m in model.modules() if "norm" in type(m).__name__.lower() for p in m.parameters(recurse=False)}
    plain = [p for n, p in trained if n.endswith("bias") or id(p) in norms]
    chosen = {id(p) for p in plain}
    groups = [
        {"params": [p for _, p in trained if id(p) not in chosen], "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _dealt(parameters: Sequence[nn.Parameter], world_size: int) -> list[nn.Parameter]:
    """So ordered that, cut into equal parts, every process owns as much of each layer as whole weights allow.

    In the model's own order the last layers are one process's: while their gradients come, it alone has to add, and the
    others wait. The largest parameter, the embeddings, lies in the middle, over one cut or none where it can; what room
    it leaves in each part is filled from every layer alike.
    """
    largest = max(parameters, key=torch.Tensor.numel)
    whole = sum(parameter.numel() for parameter in parameters)
    part, begin = whole / world_size, (whole - largest.numel()) / 2
    end = begin + largest.numel()
    room = [part - max(0.0, min(end, (rank + 1) * part) - max(begin, rank * part)) for rank in range(world_size)]
    owned: list[list[nn.Parameter]] = [[] for _ in room]
    filled = [0] * world_size
    for parameter in reversed([parameter for parameter in parameters if parameter is not largest]):
        rank = min(range(world_size), key=lambda rank: (filled[rank] + parameter.numel()) / max(room[rank], 1e-9))
        owned[rank].append(parameter)
        filled[rank] += parameter.numel()
    owned[min(int(begin / part), world_size - 1)].append(largest)
    return [parameter for own in owned for parameter in own]


def _accelerator(plan: Plan) -> Any:
    """Accelerate, set so that it does what the plan says.

    On CPU, ``ACCELERATE_USE_CPU`` makes it ignore the DeepSpeed plugin without a word, so it is set under ddp alone.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.utils import DeepSpeedPlugin

    timeout = InitProcessGroupKwargs(
        backend=plan.machine.backend, timeout=timedelta(seconds=plan.recipe.distributed.timeout_s)
    )
    if plan.zero_stage:
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        plugin = DeepSpeedPlugin(hf_ds_config=plan.deepspeed, zero3_init_flag=False)
        return Accelerator(deepspeed_plugin=plugin, mixed_precision="no", kwargs_handlers=[timeout])
    if plan.machine.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    # Without it DDP rebuilds its buckets after the first step, and a resumed run of three processes sums in another
    # order than an uninterrupted one.
    exact = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(
        cpu=plan.machine.device == "cpu",
        mixed_precision="no",  # the scorer casts, the engine scales
        # Told of a backend, Accelerate takes a process that is alone for one of several.
        kwargs_handlers=[timeout, exact] if plan.machine.world_size > 1 else [],
    )


def _compare(engine: Engine, plan: Plan, placement: Placement) -> None:
    """Refuses to train when Accelerate and DeepSpeed did anything but what the plan says.

    Raises:
        RunFailed: naming each value, as planned and as found.
    """
    state = engine.accelerator.state
    kind = state.distributed_type.value
    alone = plan.machine.world_size == 1
    several = "MULTI_GPU" if plan.machine.device == "cuda" else "MULTI_CPU"
    expected = "DEEPSPEED" if plan.zero_stage else "NO" if alone else several
    found: dict[str, tuple[object, object]] = {
        "world size": (plan.machine.world_size, state.num_processes),
        "rank": (placement.rank, state.process_index),
        "device": (plan.machine.device, engine.device.type),
        "distributed type": (expected, kind),
    }
    if plan.zero_stage:
        wrapped = engine.wrapped
        found["DeepSpeed's world size"] = (plan.machine.world_size, wrapped.dp_world_size)
        found["ZeRO stage"] = (plan.zero_stage, wrapped.zero_optimization_stage())
        found["gradient accumulation"] = (1, wrapped.gradient_accumulation_steps())
        found["gradient clipping"] = (float(plan.recipe.train.max_grad_norm), float(wrapped.gradient_clipping()))
        found["offload"] = (plan.recipe.distributed.offload, "cpu" if wrapped.zero_cpu_offload() else "none")
    wrong = [f"{name}: planned {planned}, found {is_!r}" for name, (planned, is_) in found.items() if planned != is_]
    if wrong:
        raise RunFailed("the libraries did not do what the plan says, so nothing was trained: " + "; ".join(wrong))
