"""The state of a search is a function of its ledger."""

from __future__ import annotations

import csv
from collections.abc import Callable

import pytest
import yaml

from biodist.cli.sweep_promotion import fresh_seeds
from biodist.config.sweep_loading import StatedSweep
from biodist.errors import RunFailed
from biodist.sweeps.ledger import DriverBegan, DriverEnded, Ended, Intent, Reported, Started
from biodist.sweeps.results import keep, ranked
from biodist.sweeps.schedulers import Pace
from biodist.sweeps.search import Search

from .conftest import Bench

PACE = Pace(10, 40)


def test_every_prefix_of_a_ledger_gives_the_state_it_had(bench: Callable[..., Bench]) -> None:
    one = bench()
    one.drive()
    events = one.events()
    live = Search.begin(one.stated.sweep, one.stated.recipe, PACE, ())
    for length, event in enumerate(events, start=1):
        live.apply(event)
        if length % 5 == 0 or length == len(events):
            replayed = Search.begin(one.stated.sweep, one.stated.recipe, PACE, events[:length])
            assert replayed.trials == live.trials
            assert said(replayed.next_intents()) == said(live.next_intents())


def said(intents: list[Intent]) -> list[tuple[str, object]]:
    return [(intent.key, intent.settings) for intent in intents]


def test_a_proposal_that_the_searcher_did_not_make_is_refused(stated: Callable[..., StatedSweep]) -> None:
    one = stated()
    forged = Intent(
        key="00000000-0001", number=1, proposal=1, seed=1, settings={"train.learning_rate": 0.5, "train.schedule": "x"}
    )
    with pytest.raises(RunFailed, match="Another version of Optuna or Ray"):
        Search.begin(one.sweep, one.recipe, PACE, [forged])


def test_an_event_before_its_intent_is_refused(stated: Callable[..., StatedSweep]) -> None:
    one = stated()
    with pytest.raises(RunFailed, match="before its intent"):
        Search.begin(one.sweep, one.recipe, PACE, [Reported(key="00000000-0001", step=1, value=0.5)])


def test_hours_count_while_a_driver_works(stated: Callable[..., StatedSweep]) -> None:
    one = stated()
    search = Search.begin(one.sweep, one.recipe, PACE, ())
    [intent] = search.next_intents()
    first, second = DriverBegan(time=100, host="a", pid=1), DriverBegan(time=5000, host="a", pid=2)
    events = [first, intent.model_copy(update={"time": 160.0}), DriverEnded(time=200), second]
    for event in [*events, Started(time=5030, key=intent.key)]:
        search.apply(event)
    assert search.worked_s == 130 and search.worked_until(5040) == 140
    search.apply(DriverBegan(time=9000, host="a", pid=3))  # the second was killed after its last line
    assert search.worked_s == 130


def test_the_best_is_the_mean_over_seeds_of_finished_trials(stated: Callable[..., StatedSweep]) -> None:
    one = stated("search.seeds=2", "search.trials=3")
    search = Search.begin(one.sweep, one.recipe, PACE, ())
    values = iter([0.9, 0.1, 0.6, 0.6, 0.99, 0.99])
    for number in range(3):
        for intent in search.next_intents():
            search.apply(intent)
            search.apply(Started(key=intent.key))
            search.apply(Reported(key=intent.key, step=40, value=next(values), is_last=True))
            state = "stopped_early" if number == 2 else "finished"
            search.apply(Ended(key=intent.key, state=state, steps=40, value=0, seconds=1))
    assert [(one.trials[0].proposal, one.value) for one in ranked(search)] == [(2, 0.6), (1, 0.5)]
    assert search.done


def test_a_table_has_numbers_where_a_file_lists_numbers(bench: Callable[..., Bench]) -> None:
    import pyarrow.parquet

    rates = "train.learning_rate: {choice: [1e-3, 2e-3]}, train.global_batch: {choice: [3, 6]}"
    warm_up = "train.warmup_ratio: {choice: [0, 0.5], when: {train.schedule: linear}}"
    one = bench(
        f"space={{{rates}, train.schedule: {{choice: [linear, constant]}}, {warm_up}}}", "search.searcher=random"
    )
    one.drive()
    keep(one.folder, one.stated, Search.begin(one.stated.sweep, one.stated.recipe, PACE, one.events()))
    table = pyarrow.parquet.read_table(one.folder.parquet)
    types = {name: str(table.schema.field(name).type) for name in one.stated.sweep.space}
    assert types == dict(zip(types, ("double", "int64", "string", "double"), strict=True))
    assert {row["train.warmup_ratio"] for row in table.to_pylist()} == {None, 0.0, 0.5}


def test_fresh_seeds_are_fresh_where_the_seed_is_searched(stated: Callable[..., StatedSweep]) -> None:
    one = stated("space={train.seed: {choice: [7, 50]}}", "search.searcher=random")
    search = Search.begin(one.sweep, one.recipe, PACE, ())
    for _ in range(12):
        for intent in search.next_intents():
            search.apply(intent)
    assert {trial.seed for trial in search.trials.values()} == {7, 50}
    assert fresh_seeds(search, 3) == range(51, 54)


def test_the_tables_say_what_the_ledger_says(bench: Callable[..., Bench]) -> None:
    import pyarrow.parquet

    one = bench()
    one.drive()
    search = Search.begin(one.stated.sweep, one.stated.recipe, PACE, one.events())
    keep(one.folder, one.stated, search)
    with one.folder.table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == list(search.trials)
    table = pyarrow.parquet.read_table(one.folder.parquet).to_pylist()
    assert [(row["key"], row["f1"], row["train.schedule"]) for row in table] == [
        (row["key"], float(row["f1"]), row["train.schedule"]) for row in rows
    ]
    best = max((row for row in rows if row["state"] == "finished"), key=lambda row: float(row["f1"]))
    recipe = yaml.safe_load(one.folder.best.read_text())
    assert float(recipe["train"]["learning_rate"]) == float(best["train.learning_rate"])
    assert recipe["evaluate"]["test"] is True
