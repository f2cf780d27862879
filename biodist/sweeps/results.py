"""What a sweep comes to: the table of its trials, and the best configuration as a plain recipe."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from biodist.config.space import Settings, written
from biodist.config.sweep_loading import StatedSweep
from biodist.config.writing import recipe_yaml
from biodist.run.durable import write_bytes, write_text
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.search import Search, Trial


@dataclass(frozen=True)
class Configuration:
    """One point of the space, and its trials: one a seed."""

    settings: Settings
    trials: tuple[Trial, ...]

    @property
    def name(self) -> str:
        """The key of its first trial."""
        return self.trials[0].key

    @property
    def value(self) -> float | None:
        """The mean of the best scores of its finished trials."""
        values = [trial.value for trial in self.trials if trial.end == "finished" and trial.value is not None]
        return fmean(values) if values else None


def ranked(search: Search) -> list[Configuration]:
    """Configurations with a finished trial, best first; of two alike the earlier."""
    by_proposal: dict[int, list[Trial]] = {}
    for trial in search.trials.values():
        by_proposal.setdefault(trial.proposal, []).append(trial)
    found = [Configuration(trials[0].settings, tuple(trials)) for trials in by_proposal.values()]
    sign = -1 if search.sweep.mode == "max" else 1
    valued = [(sign * one.value, place, one) for place, one in enumerate(found) if one.value is not None]
    return [one for _, _, one in sorted(valued, key=lambda entry: entry[:2])]


def rows(search: Search) -> list[dict[str, Any]]:
    """One a trial, by number; the settings' columns are the space's keys."""
    return [
        {
            **{"trial": trial.number, "key": trial.key, "state": state_of(trial), "configuration": trial.proposal},
            **{"seed": trial.seed, "steps": trial.step, search.sweep.metric: trial.value},
            **{"seconds": trial.seconds, "starts": trial.starts, "why": trial.why if trial.end != "finished" else ""},
            **{key: trial.settings.get(key) for key in search.sweep.space},
        }
        for trial in search.trials.values()
    ]


def state_of(trial: Trial) -> str:
    """In one word."""
    return trial.end or ("stopping" if trial.is_stopped else "running" if trial.starts else "waiting")


def keep(folder: SweepFolder, stated: StatedSweep, search: Search) -> None:
    """Brings `trials.csv`, `trials.parquet` and `best.yaml` up to date. Raises OSError."""
    table = rows(search)
    if not table:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in table)
    write_text(folder.table, text.getvalue())
    write_bytes(folder.parquet, _parquet(table, tuple(search.sweep.space)))
    if best := ranked(search)[:1]:
        write_text(folder.best, recipe_yaml(stated.best_recipe(best[0].settings)))


def _cell(value: Any) -> Any:
    return written(value) if isinstance(value, list | dict) else value


def _parquet(table: Sequence[dict[str, Any]], keys: Sequence[str]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    columns = {}
    for name in table[0]:
        values = [row[name] for row in table]
        columns[name] = _column(values) if name in keys else values
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def _column(values: Sequence[Any]) -> list[Any]:
    """Settings of one key: numbers where all are, also those that a file lists; else what stands for them in text."""
    given = [value for value in values if value is not None]
    try:
        numbers = [float(value) for value in given]
    except (TypeError, ValueError):
        return [None if value is None else written(value) for value in values]
    is_whole = all(number.is_integer() and "." not in str(value) for number, value in zip(numbers, given, strict=True))
    return [None if value is None else int(float(value)) if is_whole else float(value) for value in values]
