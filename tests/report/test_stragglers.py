"""A rank that is slower than the others, and one that has become slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from biodist.metrics.events import EventLog
from biodist.report.conduct import slow_ranks, stragglers_table
from biodist.report.stragglers import rank_paces
from biodist.report.study import read_study

pytestmark = pytest.mark.timeout(60)
STEPS = 203


def write_paces(attempt: Any, rank: int, seconds: Callable[[int], float]) -> None:
    with EventLog(attempt.events(rank)) as log:
        for step in range(1, STEPS + 1):
            own = seconds(step)
            measures = {"forward_seconds": own, "waiting_seconds": 0.5, "tokens": 100, "peak_memory_bytes": 2 * 10**9}
            log.write("pace", step=step, seconds=own + 0.5, **measures)


def test_slow_ranks_are_named(author: Callable[..., Any]) -> None:
    run = author("ranks")
    attempt = run.attempt(0, 9, "finished", [(1.0, "resumed", {"step": 0}), run.made(2, 1)])
    write_paces(attempt, 0, lambda step: 0.1)
    write_paces(attempt, 1, lambda step: 0.2)  # half as fast from the start
    write_paces(attempt, 2, lambda step: 0.1 if step < 150 else 0.3)  # has become slow
    paces = rank_paces(run.run)
    assert [pace.tokens_per_second for pace in paces] == pytest.approx([1000, 500, 1000])
    assert [pace.against_median for pace in paces] == pytest.approx([1, 0.5, 1])
    assert [pace.against_past for pace in paces] == pytest.approx([1, 1, 1 / 3])
    assert [pace.slow for pace in paces] == [False, True, True]
    subject = read_study([run.run.root]).subjects[0]
    assert len(slow_ranks(subject)) == 2 and (table := stragglers_table(subject)) and table.strong == {1, 2}


def test_the_first_steps_and_short_runs_are_no_history(author: Callable[..., Any]) -> None:
    run = author("short")
    attempt = run.attempt(0, 9, "finished", [(1.0, "resumed", {"step": 0}), run.made(2, 1)])
    write_paces(attempt, 0, lambda step: 9.0 if step <= 3 else 0.1)  # a compiler at work
    (pace,) = rank_paces(run.run)
    assert pace.tokens_per_second == pytest.approx(1000) and pace.against_median is None
    lines = attempt.events(0).read_text().splitlines(keepends=True)
    attempt.events(0).write_text("".join(lines[:60]))
    assert rank_paces(run.run)[0].against_past is None


def test_a_run_that_told_no_pace_has_no_table(author: Callable[..., Any]) -> None:
    run = author("old")
    run.attempt(0, 9, "finished", [(1.0, "resumed", {"step": 0}), run.made(2, 1)])
    assert rank_paces(run.run) == () and stragglers_table(read_study([run.run.root]).subjects[0]) is None
