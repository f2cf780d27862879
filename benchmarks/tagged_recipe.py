"""The recipe with which `merging.py` and `corpora.py` train all-MiniLM-L6-v2 on tagged files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from biodist.config.recipe import CORPUS
from biodist.errors import Problem, UserError
from biodist.run.durable import write_text

SPLITS = {"train": "train", "validation": "devel", "test": "test"}  # what a recipe and what the corpora call them


@dataclass(frozen=True)
class Setting:
    """What all trainings of a campaign share."""

    encoder: Path
    epochs: int
    learning_rate: float
    max_steps: int | None  # in place of epochs
    augment: float | None  # share of the training mentions that are exchanged for others
    names: tuple[str, ...]  # where those come from: corpus, files
    precision: str  # bf16 only where the processor computes in it: elsewhere it is many times slower than fp32


def add_setting(parser: argparse.ArgumentParser) -> None:
    """The options that a `Setting` is made of."""
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-steps", type=int, metavar="N", help="so many steps of 16 sentences, in place of epochs")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument(
        "--augment", type=float, metavar="SHARE", help="of the mentions, exchanged for others in copies"
    )
    parser.add_argument("--names", nargs="+", metavar="SOURCE", help="of them: corpus (default), tables, OBO files")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")


def setting_of(given: argparse.Namespace) -> Setting:
    """What the options say. Raises UserError."""
    if given.names and not given.augment:
        raise UserError(
            Problem("--names", "no mention is exchanged without --augment", "give it a share: --augment 0.5")
        )
    return Setting(
        encoder=given.model.absolute(),
        epochs=given.epochs,
        learning_rate=given.learning_rate,
        max_steps=given.max_steps,
        augment=given.augment,
        names=tuple(one if one == CORPUS else str(Path(one).absolute()) for one in given.names or [CORPUS]),
        precision=given.precision,
    )


def write_recipe(
    out: Path,
    name: str,
    setting: Setting,
    seed: int,
    labels: Sequence[str],
    splits: Mapping[str, Any],
    merge: str | None = None,
) -> Path:
    """`out/NAME.yaml`. `splits`: lists of entries under their keys of `data`."""
    several = len(splits.get("validation", ())) > 1
    recipe = {
        **{"name": name, "task": "ner", "model": {"name": str(setting.encoder)}},
        "data": {
            **{"max_length": 256, "stride": 32, "labels": list(labels)},
            **({"merge": merge} if merge else {}),
            **({"augment": {"share": setting.augment, "sources": [*setting.names]}} if setting.augment else {}),
            **splits,
        },
        "train": {
            **({"max_steps": setting.max_steps} if setting.max_steps else {"epochs": setting.epochs}),
            **{"global_batch": 16, "learning_rate": setting.learning_rate, "seed": seed},
            **{"warmup_ratio": 0.1, "precision": setting.precision},
        },
        "checkpoint": {"every_steps": 1000, "keep_last": 1},
        "evaluate": {"metric": "macro_f1" if several else "f1"},
    }
    path = out / f"{name}.yaml"
    write_text(path, yaml.safe_dump(recipe, sort_keys=False))
    return path
