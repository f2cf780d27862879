"""Which runs belong together, which group is best, and what is said of what cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biodist.errors import UserError
from biodist.report.quantities import duration, number, spread_score
from biodist.report.results import best_table, breakdowns, confusion, epochs_table
from biodist.report.study import read_study

pytestmark = pytest.mark.timeout(60)


def test_seeds_are_one_group_and_validation_alone_chooses(seeds: Path) -> None:
    study = read_study([seeds])
    assert [group.label for group in study.groups] == ["train.learning_rate=0.001", "train.learning_rate=0.01"]
    assert study.varied == ("train.learning_rate",) and (study.metric, study.mode) == ("f1", "max")
    assert study.best_run.name == "0.001-2"
    assert not study.problems


def test_the_best_table_has_mean_and_deviation(seeds: Path) -> None:
    table = best_table(read_study([seeds]), brief=True)
    assert [column.head for column in table.columns] == [
        *("learning_rate (train)", "runs", "finished", "F1 (validation)", "F1 (test)"),
    ]
    # 0.8 and 0.9: mean 0.85, deviation 0.0707 with n - 1
    assert table.rows[0] == ("0.001", "2", "2", "0.850 ± 0.071", "0.800 ± 0.071")
    assert "n − 1" in table.note


def test_runs_are_grouped_by_the_keys_that_are_asked_for(seeds: Path) -> None:
    study = read_study([seeds], ["train.seed"])
    assert [(group.label, len(group.members)) for group in study.groups] == [("train.seed=2", 2), ("train.seed=1", 2)]
    with pytest.raises(UserError, match=r"train\.lerning_rate.*no run has this setting.*train\.learning_rate"):
        read_study([seeds], ["train.lerning_rate"])


def test_epochs_as_a_model_card_prints_them(seeds: Path) -> None:
    table = epochs_table(read_study([seeds]).best_run)
    assert table is not None
    assert [column.head for column in table.columns] == [
        *("epoch", "step", "loss (training)", "loss (validation)", "F1 (validation)"),
    ]
    # 58 samples in steps of 8: 8 steps an epoch; training loss: means of (1.0, 0.5) and (0.4, 0.2)
    assert table.rows == (("0.25", "2", "0.750", "0.700", "0.800"), ("0.50", "4", "0.300", "0.600", "0.900"))
    assert table.strong == {1}


def test_classes_and_confusion_of_all_seeds(seeds: Path) -> None:
    best = read_study([seeds]).best
    (table,) = breakdowns(best, "test")
    assert table.rows[0] == ("yes", "0.850 ± 0.071", "0.850 ± 0.071", "0.850 ± 0.071", "10")
    found = confusion(best, "test")
    assert found is not None and found.names == ("yes", "no<b>") and found.counts == ((16, 4), (6, 14))
    assert confusion(best, "validation") is None


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(seeds: Path, author: Callable[..., Any]) -> None:
    broken = seeds / "0.01-1"
    (broken / "attempts" / "0001" / "events-rank-0.jsonl").write_text('{"kind": "resumed"}\n{"time": 1, "kind"\n')
    (seeds / "0.01-2" / "provenance.json").write_text("{}")
    study = read_study([seeds])
    assert len(study.subjects) == 3 and [str(broken) in str(problem) for problem in study.unread] == [True]
    assert any("Provenance" in str(problem) for problem in study.problems)


def test_a_run_under_way_shows_its_best_so_far(author: Callable[..., Any]) -> None:
    run = author("young")
    run.attempt(
        0, None, "running", [(1.0, "resumed", {"step": 0}), run.made(2, 1), run.scored(3, 1, "validation", f1=0.3)]
    )
    study = read_study([run.run.root])
    assert study.best.scores("validation", "f1", "max") == [0.3]
    assert best_table(study).rows[0] == ("F1", "0.300") and "have not finished" in best_table(study).note


def test_a_run_without_a_score_is_no_error(author: Callable[..., Any]) -> None:
    study = read_study([author("new").run.root])
    assert best_table(study).rows == () and epochs_table(study.best_run) is None


def test_quantities() -> None:
    assert spread_score([0.5, None, float("nan")]) == "0.500" and spread_score([]) == "–"
    assert [duration(s) for s in (4.25, 59.96, 187, 18720, 183600)] == [
        *("4.2 s", "60.0 s", "3 min 07 s", "5 h 12 min", "2 d 03 h"),
    ]
    assert [number(v) for v in (3e-5, 1024.0, 0.25, None, 123456.7)] == ["3e-05", "1,024", "0.25", "–", "123,457"]
