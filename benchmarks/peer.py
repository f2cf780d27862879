"""Runs the peer's script as it stands, counts what it trains on, and gives it the precision it has no option for.

usage: peer.py [--bf16] SCRIPT -- ARGUMENTS OF THE SCRIPT

The script estimates its real tokens from the mean length of a sentence. Grouped by length that is wrong: a group of 800
sentences is trained on from its longest to its shortest, so the first 40 steps of 16 have more than the mean. Here the
attention masks of the batches that reach ``Trainer.training_step`` are summed. Its time holds what `train()` does
before the first step as well, which biodist does before its clock starts: that is timed here, to be taken off. After
the script's own line, a second one: {"tokens", "steps", "setup_seconds", "precision", "threads", "weights"}.
"""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import time
from functools import partialmethod
from typing import Any

import torch
from transformers import Trainer, TrainingArguments


class Count:
    """What went into the Trainer's steps."""

    def __init__(self) -> None:
        self.tokens = 0
        self.steps = 0
        self.setup_seconds = 0.0  # of train(), before its first step
        self.precision = ""
        self.weights = ""

    def attach(self) -> None:
        """From now on every Trainer's steps are counted."""
        original, original_train = Trainer.training_step, Trainer.train
        began = 0.0

        def timed(trainer: Trainer, *rest: Any, **named: Any) -> Any:
            nonlocal began
            began = time.perf_counter()
            return original_train(trainer, *rest, **named)

        def counted(trainer: Trainer, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            if not self.steps:
                self.setup_seconds = time.perf_counter() - began
            self.tokens += int(inputs["attention_mask"].sum())
            self.steps += 1
            self.precision = trainer.accelerator.mixed_precision
            self.weights = str(next(model.parameters()).dtype)
            return original(trainer, model, inputs, *rest, **named)

        Trainer.train = timed  # type: ignore[method-assign,assignment]
        Trainer.training_step = counted  # type: ignore[method-assign,assignment]

    def line(self) -> str:
        return json.dumps(vars(self) | {"threads": torch.get_num_threads()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("rest", nargs="*")
    arguments = parser.parse_args()
    if arguments.bf16:
        # In the class itself: transformers replaces its own module while it is imported, and a name set on the module
        # taken before is set on a dead one.
        TrainingArguments.__init__ = partialmethod(TrainingArguments.__init__, bf16=True)  # type: ignore[assignment]
    count = Count()
    count.attach()
    sys.argv = [arguments.script, *arguments.rest]
    runpy.run_path(arguments.script, run_name="__main__")
    print(count.line())


if __name__ == "__main__":
    main()
