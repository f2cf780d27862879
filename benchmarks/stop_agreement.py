"""What it costs that all ranks agree at every step whether to stop: seconds a step, at 2 and at 3 processes over gloo.

usage: stop_agreement.py [--steps N] [--step-ms N] [--world-sizes 2 3] [--markdown FILE.md]

Ranks wait for the length of a step, meet, and agree; of each step the slowest rank's seconds count. Two figures: the
agreement alone, as before training and between two batches of an evaluation, and the collective that ends a training
step, in which the flag is one number among losses and window numbers. The goal is for either: under 1 % of the step.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from material import commit_label, measured_commit, typed_command
from numpy.typing import NDArray
from state_group import run_group

from biodist.config.recipe import Recipe, ScratchSize
from biodist.errors import BiodistError
from biodist.plan.decide import decide, place
from biodist.plan.index import DataIndex, SplitIndex
from biodist.plan.machine import Machine
from biodist.plan.plan import ModelPlan, Plan
from biodist.plan.shape import scratch_shape

RANKS = Path(__file__).with_name("agreement_ranks.py")
FIGURES = ("agreement alone", "the step's collective that carries the flag")
GOAL = 0.01  # of a step
SLACK_S = 120.0


def plan_of(world_size: int) -> Plan:
    """A plan for so many processes; of recipe, data and model no more than a plan needs."""
    size = ScratchSize(layers=1, hidden_size=32, heads=1, intermediate_size=64, vocab_size=100, max_positions=64)
    recipe = Recipe.model_validate(
        {
            "name": "stop-agreement",
            "task": "ner",
            "model": {"init": "scratch", "scratch": size.model_dump()},
            "data": {"max_length": 64, "stride": 8, "labels": ["Disease"], "train": [{"path": "none.tsv"}]},
            "train": {"max_steps": 1, "global_batch": 1},
            "distributed": {"strategy": "ddp"},
        }
    )
    split = SplitIndex(samples=1, windows=1, tokens=16, targets=14, lengths={16: 1}, types={})
    labels = ("O", "B-Disease", "I-Disease")
    index = DataIndex(
        fingerprint="none", store="", tokenizer="", labels=labels, vocab_size=100, splits={"train": split}
    )
    model = ModelPlan(folder=None, shape=scratch_shape(size, 100, len(labels)))
    return decide(recipe, index, model, place(Machine.here(), world_size, "cpu"))


def measure(world_size: int, steps: int, step_s: float) -> NDArray[np.float64]:
    """Seconds of every step, a column a figure.

    Raises:
        RunFailed: a process failed.
    """
    plan = plan_of(world_size)
    argument = {"plan": plan.model_dump(mode="json"), "steps": steps, "step_s": step_s}
    with TemporaryDirectory(prefix="stop-agreement-") as own:
        slowest, *_ = run_group(RANKS, plan, Path(own) / "group", argument, SLACK_S + 3 * steps * step_s)
    return np.array(slowest)


def rows(world_size: int, seconds: NDArray[np.float64], step_s: float) -> list[str]:
    """A line of the table a figure."""
    lines = []
    for name, column in zip(FIGURES, seconds.T, strict=True):
        low, middle, high, last = np.quantile(column, [0.05, 0.5, 0.95, 0.99]) * 1e3
        share = middle / step_s / 1e3
        verdict = "met" if high / step_s / 1e3 < GOAL else "inside the spread: not met" if share < GOAL else "not met"
        figures = f"{middle:.3f} ms ({low:.3f} to {high:.3f}; 99 % under {last:.3f})"
        lines.append(f"| {name} | {world_size} | {figures} | {share:.2%} | {verdict} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--step-ms", type=float, default=100.0)
    parser.add_argument("--world-sizes", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--markdown", type=Path, help="writes the table there as well")
    arguments = parser.parse_args()
    step_s = arguments.step_ms / 1e3
    try:
        steps = f"{arguments.steps} steps of {arguments.step_ms:g} ms, the slowest rank of each"
        lines = [
            f"`{typed_command()}`, {commit_label(measured_commit())}: {steps}.",
            "",
            f"| | processes | median (5 % to 95 % of steps) | of a step | goal under {GOAL:.0%}, 95 % of steps |",
            "|---|---|---|---|---|",
        ]
        for world_size in arguments.world_sizes:
            lines += rows(world_size, measure(world_size, arguments.steps, step_s), step_s)
    except BiodistError as error:
        print(f"stop_agreement: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if arguments.markdown:
        arguments.markdown.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
