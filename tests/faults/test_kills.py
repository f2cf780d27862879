"""The kill campaign in short: instants that no test hits by luck. The long form: `benchmarks/kill_campaign.py`."""

from __future__ import annotations

import pytest
from campaign.cases import Blow, Case, Kind, cases
from campaign.ground import Ground
from campaign.sabotage import Sabotage, sabotaged
from campaign.struck import struck_run
from campaign.traps import MOMENTS, moment

pytestmark = pytest.mark.timeout(600)


def blow(kind: Kind, at: str, call: int = 1, rank: int = 0) -> Blow:
    return Blow(kind, moment(at), call, rank)


CASES = [
    Case(
        1,
        "zero2",
        2,
        (
            (blow(Kind.KILL_LAUNCHER, "data preparation"),),
            (blow(Kind.KILL_ALL, "save: shard", call=30, rank=1),),
            (blow(Kind.KILL_LAUNCHER, "record rewritten"),),
        ),
    ),
    Case(
        2,
        "zero2",
        2,
        (
            (blow(Kind.USR2, "step", call=7), blow(Kind.KILL_ONE, "before the rename", call=3)),
            (blow(Kind.KILL_ONE, "scores to record", call=1),),
        ),
    ),
    Case(
        3,
        "zero2",
        2,
        ((blow(Kind.KILL_LAUNCHER, "retention"),), (blow(Kind.TERM, "evaluation", rank=1),)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_a_struck_run_ends_as_the_undisturbed_one(ground: Ground, case: Case) -> None:
    row = struck_run(ground, case)
    assert row["problems"] == []
    assert len(row["blows"]) == case.kills, "an instant was never reached"
    assert row["finished"] and row["equal_weights"] and row["equal_samples"]


@pytest.mark.parametrize("how", [Sabotage.MOMENT, pytest.param(Sabotage.SEEDING, marks=pytest.mark.full)])
def test_a_broken_resume_is_found_out(ground: Ground, how: Sabotage) -> None:
    case = Case(9, "zero2", 2, ((blow(Kind.KILL_ONE, "step", call=8, rank=1),),))
    assert any(what.startswith("weights:") for what in sabotaged(ground, case, how))


def test_a_seed_decides_the_cases() -> None:
    chosen = list(cases(1, 120))
    assert chosen == list(cases(1, 120)) != list(cases(2, 120))
    assert sum(case.kills for case in chosen) >= 120
    assert len({case.key for case in chosen}) == len(chosen)


def test_a_campaign_covers_every_blow_moment_strategy_and_world_size() -> None:
    chosen = list(cases(1, 120))
    blows = [blow for case in chosen for attempt in case.attempts for blow in attempt]
    assert {blow.kind for blow in blows} == set(Kind)
    assert {blow.moment.name for blow in blows} == {at.name for at in MOMENTS}
    assert {(case.strategy, case.world_size) for case in chosen} == {
        (strategy, world) for strategy in ("ddp", "zero1", "zero2", "zero3") for world in (2, 3)
    }
    assert any(len(attempt) == 2 for case in chosen for attempt in case.attempts)
