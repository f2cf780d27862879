"""The state of a search: what its ledger comes to. Live and replayed alike, it is changed by events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean

from biodist.config.recipe import Recipe
from biodist.config.space import Settings, configurations, digest, written
from biodist.config.sweep import Sweep
from biodist.errors import RunFailed
from biodist.sweeps.ledger import AnyEvent, DriverBegan, DriverEnded, End, Ended, Faltered, Intent, Reported, Started
from biodist.sweeps.schedulers import Pace, Scheduler
from biodist.sweeps.searchers import Searcher, searcher_of


@dataclass(frozen=True)
class Trial:
    """One run of the sweep, as far as the ledger tells."""

    key: str
    number: int
    proposal: int
    seed: int
    settings: Settings
    begun: float | None = None  # UNIX seconds of its first start
    started: Started | None = None  # the newest
    starts: int = 0
    falters: int = 0
    why: str = ""  # it faltered last, or ended
    step: int = 0  # of the newest score
    value: float | None = None  # the best score so far
    is_stopped: bool = False  # the scheduler has ended it
    end: End | None = None
    seconds: float = 0.0


@dataclass
class Search:
    """Trials by key, and the searcher and scheduler that the same events have made what they are."""

    sweep: Sweep
    recipe: Recipe
    searcher: Searcher
    scheduler: Scheduler
    trials: dict[str, Trial] = field(default_factory=dict)
    worked_s: float = 0.0  # of drivers, until the newest event
    exhausted: bool = False
    _last: float | None = None  # time of the newest event of a driver that lives

    @classmethod
    def begin(cls, sweep: Sweep, recipe: Recipe, pace: Pace, events: Iterable[AnyEvent]) -> Search:
        """The state after the events. Raises RunFailed where they do not belong to this sweep."""
        search = cls(sweep, recipe, searcher_of(sweep), Scheduler(sweep, pace))
        for event in events:
            search.apply(event)
        return search

    def next_intents(self) -> list[Intent]:
        """The next configuration, a trial a seed; empty when the space or the budget of trials is used up."""
        proposal, there = self.proposals, self._members(self.proposals)
        if len(there) in (0, self.sweep.search.seeds):  # else a driver ended between two seeds of a configuration
            proposal, there = proposal + 1, []
        if proposal > configurations(self.sweep):
            return []
        settings = self.searcher.propose(proposal)
        if settings is None:
            self.exhausted = True
            return []
        places = range(len(there), self.sweep.search.seeds)
        return [
            self._intent(len(self.trials) + number, proposal, self._seed(settings) + place, settings)
            for number, place in enumerate(places, start=1)
        ]

    @property
    def proposals(self) -> int:
        return max((trial.proposal for trial in self.trials.values()), default=0)

    @property
    def open(self) -> list[Trial]:
        """Trials that are to be run, or run."""
        return [trial for trial in self.trials.values() if trial.end is None]

    @property
    def done(self) -> bool:
        """Whether nothing is left to run or to propose."""
        whole = len(self._members(self.proposals)) in (0, self.sweep.search.seeds)
        return not self.open and whole and (self.exhausted or self.proposals >= configurations(self.sweep))

    def worked_until(self, now: float) -> float:
        """Seconds that drivers have worked, when one does now."""
        return self.worked_s + (max(0.0, now - self._last) if self._last is not None else 0.0)

    def apply(self, event: AnyEvent) -> None:
        """Raises RunFailed for an event of a trial that there is not, or a proposal that the searcher did not make."""
        self._count_time(event)
        match event:
            case Intent():
                self._add(event)
            case Started():
                trial = self._trial(event.key)
                begun = trial.begun if trial.begun is not None else event.time
                self._put(replace(trial, started=event, starts=trial.starts + 1, begun=begun))
            case Reported():
                self._report(event)
            case Faltered():
                trial = self._trial(event.key)
                self._put(replace(trial, falters=trial.falters + 1, why=event.why))
            case Ended():
                trial = self._trial(event.key)
                self._put(replace(trial, end=event.state, why=event.why, seconds=event.seconds))
                self._settle(trial.proposal)

    def better(self, a: float, b: float) -> bool:
        """Whether score `a` is better than `b`."""
        return a > b if self.sweep.mode == "max" else a < b

    def _seed(self, settings: Settings) -> int:
        return int(settings.get("train.seed", self.recipe.train.seed))

    def _intent(self, number: int, proposal: int, seed: int, settings: Settings) -> Intent:
        key = f"{digest(settings, seed)}-{number:04d}"
        return Intent(key=key, number=number, proposal=proposal, seed=seed, settings=settings)

    def _add(self, event: Intent) -> None:
        proposed = self.searcher.propose(event.proposal)
        if _words(proposed or {}) != _words(event.settings):
            raise RunFailed(
                f"trial {event.key}: its ledger has {_words(event.settings)}, but the searcher proposes "
                f"{_words(proposed or {})}. Another version of Optuna or Ray than it began with draws otherwise: "
                "install that one again, or begin a new sweep"
            )
        known = {name: getattr(event, name) for name in ("key", "number", "proposal", "seed")}
        self._put(Trial(settings=dict(event.settings), **known))
        self.scheduler.add(event.key)

    def _report(self, event: Reported) -> None:
        trial = self._trial(event.key)
        is_best = trial.value is None or self.better(event.value, trial.value)
        stops = self.scheduler.stops(event.key, event.step, event.value) and not event.is_last
        if self.sweep.search.seeds == 1 and not event.is_last:
            self.searcher.report(trial.proposal, event.step, event.value)
        value = event.value if is_best else trial.value
        self._put(replace(trial, step=event.step, value=value, is_stopped=trial.is_stopped or stops))

    def _settle(self, proposal: int) -> None:
        """Tells the searcher of a configuration once all of its seeds are over."""
        members = self._members(proposal)
        if len(members) < self.sweep.search.seeds or any(trial.end is None for trial in members):
            return
        values = [trial.value for trial in members if trial.end == "finished" and trial.value is not None]
        stopped = any(trial.end in ("stopped_early", "out_of_budget", "cancelled") for trial in members)
        self.searcher.complete(proposal, fmean(values) if values else None, failed=not values and not stopped)

    def _members(self, proposal: int) -> list[Trial]:
        """The trials of a configuration, one a seed."""
        return [trial for trial in self.trials.values() if trial.proposal == proposal]

    def _trial(self, key: str) -> Trial:
        if key not in self.trials:
            raise RunFailed(f"the ledger speaks of trial {key} before its intent: restore it, or begin a new sweep")
        return self.trials[key]

    def _put(self, trial: Trial) -> None:
        self.trials[trial.key] = trial

    def _count_time(self, event: AnyEvent) -> None:
        if self._last is not None and not isinstance(event, DriverBegan):
            self.worked_s += max(0.0, event.time - self._last)
        self._last = None if isinstance(event, DriverEnded) else event.time


def _words(settings: Mapping[str, object]) -> dict[str, str]:
    return {key: written(value) for key, value in settings.items()}
