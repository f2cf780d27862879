"""Which kills a campaign does: drawn from a seed, spread evenly over strategies, world sizes, blows and moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import cycle, product
from random import Random

from campaign.traps import MOMENTS, Moment, moment

STRATEGIES = ("ddp", "zero1", "zero2", "zero3")
WORLD_SIZES = (2, 3)
TWICE_EVERY = 6  # of so many runs one is struck in two attempts, and one twice in the same attempt


class Kind(StrEnum):
    """What is done to the run."""

    KILL_ONE = "SIGKILL one rank"
    KILL_ALL = "SIGKILL all ranks"
    KILL_LAUNCHER = "SIGKILL launcher"
    TERM = "SIGTERM"
    USR2 = "SIGUSR2"
    STOP_ONE = "SIGSTOP one rank"

    @property
    def asks(self) -> bool:
        """Whether it only asks the run to stop."""
        return self in (Kind.TERM, Kind.USR2)

    @property
    def for_launcher(self) -> bool:
        """Whether it can be done before there are workers."""
        return self.asks or self is Kind.KILL_LAUNCHER


@dataclass(frozen=True)
class Blow:
    """One kill: what, at which instant, to which rank (the launcher's blows have none)."""

    kind: Kind
    moment: Moment
    call: int
    rank: int

    @property
    def waits_in(self) -> int | None:
        """The rank that stands still at the instant; None is the launcher."""
        if self.moment.launcher:
            return None
        return 0 if self.moment.leads else self.rank

    def __str__(self) -> str:
        return f"{self.kind} @ {self.moment.name} {self.call}, rank {self.rank}"


@dataclass(frozen=True)
class Case:
    """One run, and the blows that each of its first attempts takes; then it is left alone until it is finished."""

    number: int
    strategy: str
    world_size: int
    attempts: tuple[tuple[Blow, ...], ...]

    @property
    def key(self) -> str:
        """Names the case for good: the same seed gives the same ones."""
        blows = "; ".join(" + ".join(map(str, blows)) for blows in self.attempts)
        return f"{self.number:03d} {self.strategy} x{self.world_size} {blows}"

    @property
    def kills(self) -> int:
        return sum(map(len, self.attempts))

    @property
    def has_stopped_rank(self) -> bool:
        return any(blow.kind is Kind.STOP_ONE for blows in self.attempts for blow in blows)


def cases(seed: int, kills: int) -> Iterator[Case]:
    """Runs with at least so many kills together."""
    random = Random(seed)
    pairs = [(k, m) for k, m in product(Kind, MOMENTS) if k.for_launcher or not m.launcher]
    random.shuffle(pairs)
    grounds = list(product(STRATEGIES, WORLD_SIZES))
    random.shuffle(grounds)
    done = 0
    for number, ((kind, at), (strategy, world_size)) in enumerate(zip(cycle(pairs), cycle(grounds), strict=False), 1):
        if done >= kills:
            return
        case = Case(number, strategy, world_size, ((_blow(kind, at, world_size, random),),))
        if number % TWICE_EVERY == 0:
            case = replace(case, attempts=(*case.attempts, (_later(world_size, random),)))
        elif number % TWICE_EVERY == 3:
            case = replace(case, attempts=(_asked_then_killed(world_size, random),))
        done += case.kills
        yield case


def _blow(kind: Kind, at: Moment, world_size: int, random: Random) -> Blow:
    return Blow(kind, at, at.draw(random), random.randrange(world_size))


def _later(world_size: int, random: Random) -> Blow:
    """A blow to an attempt that has little left to do: at a moment that every attempt has."""
    every = ("start-up", "before the first step", "record rewritten", "evaluation", "model export", "result")
    at = replace(moment(random.choice(every)), last=1)
    return _blow(random.choice(list(Kind)), at, world_size, random)


def _asked_then_killed(world_size: int, random: Random) -> tuple[Blow, Blow]:
    """Two blows in one attempt: it is asked to stop, and killed inside the save that follows."""
    step = moment("step")
    asked = Blow(random.choice([Kind.TERM, Kind.USR2]), step, 2, 0)
    inside = random.choice(["save: copy", "save: shard", "save: manifest", "before the rename", "after the rename"])
    at = moment(inside)
    call = at.first if inside != "save: shard" else random.randint(2, 20)
    return asked, Blow(
        random.choice([Kind.KILL_ONE, Kind.KILL_ALL, Kind.KILL_LAUNCHER]), at, call, random.randrange(world_size)
    )
