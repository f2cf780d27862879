"""The driver of a sweep: starts what the search proposes, relays scores, ends what the scheduler stops.

It may die at any instant. Whatever it does to a trial it has first written to the ledger, so that the next driver
finds every process and job again, and decides as this one would have.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from biodist.config.sweep_loading import StatedSweep
from biodist.config.sweep_rules import trial_words
from biodist.errors import BiodistError, MachineCannot
from biodist.plan.plan import read_plan
from biodist.run.lease import Lease, Replaced
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.backend import Backend, Launch
from biodist.sweeps.ledger import (
    AnyEvent,
    DriverBegan,
    DriverEnded,
    End,
    Ended,
    Faltered,
    Ledger,
    Reported,
    Started,
    read_ledger,
)
from biodist.sweeps.outcome import Outcome, Scores, outcome_of, worked_s
from biodist.sweeps.schedulers import Pace
from biodist.sweeps.search import Search, Trial
from launch.requests import StopRequests

Ending = Literal["done", "stopped", "interrupted"]
_PATIENCE_LOOKS = 2  # looks in which a trial must be gone before it is judged: a job may be between two lives


@dataclass
class Driver:
    """One process's time at a sweep. `changed` is called when there is something to show."""

    folder: SweepFolder
    stated: StatedSweep
    pace: Pace
    backend: Backend
    lease: Lease
    changed: Callable[[Search], None]
    say: Callable[[str], None]
    open_ledger: Callable[[Path], Ledger] = Ledger
    _scores: dict[str, Scores] = field(default_factory=dict)
    _totals: dict[str, int] = field(default_factory=dict)
    _running: set[str] = field(default_factory=set)  # started, and not yet judged
    _gone: dict[str, int] = field(default_factory=dict)  # looks in which it was not there

    def __post_init__(self) -> None:
        self.search = Search.begin(self.stated.sweep, self.stated.recipe, self.pace, read_ledger(self.folder.ledger))
        self.ledger = self.open_ledger(self.folder.ledger)

    def run(self) -> Ending:
        """Until every trial is over, or a signal asks to stop.

        Raises MachineCannot when another driver took over, or the ledger cannot be written; trials that run go on.
        """
        try:
            with StopRequests() as requests:
                self._note(DriverBegan(host=socket.gethostname(), pid=os.getpid()))
                self._take_up()
                while not self.search.done and not self._is_finished_early():
                    if asked := requests.take():
                        return self._let_go(asked, requests)
                    self._look()
                    self._fill()
                    self.changed(self.search)
                    time.sleep(self.backend.look_every_s if self.search.open else 0)
            return "done"
        except BiodistError:
            if self._running:
                go_on = "`biodist sweep --resume` takes them up, `biodist cancel` ends them"
                self.say(f"{len(self._running)} trials of {self.folder.root} go on without this driver: {go_on}")
            raise
        finally:
            with suppress(OSError, MachineCannot):  # nothing is lost without this line
                self._note(DriverEnded())
            with suppress(OSError):
                self.ledger.close()
            self.backend.close()

    def _take_up(self) -> None:
        """What an earlier driver left: living trials are adopted, ended ones judged, the others start again."""
        left = self.search.open
        living = self.backend.adopt({trial.key: trial.started for trial in left})
        for trial in left:
            if trial.key in living:
                self._running.add(trial.key)
                self.say(f"trial {trial.key}: found running, goes on")
            else:  # also where its start was not noted: it may have come to its end since
                self._judge(trial.key, is_left_over=True)

    def _look(self) -> None:
        if self.lease.lost.is_set():
            raise self._taken_over()
        living = self.backend.living(sorted(self._running))
        for key in sorted(self._running, key=lambda key: self.search.trials[key].number):
            self._relay(key)
            self._gone[key] = 0 if key in living else self._gone.get(key, 0) + 1
            if self._gone[key] >= _PATIENCE_LOOKS:
                self._relay(key)
                self._running.discard(key)
                self._judge(key)
            elif self.search.trials[key].is_stopped or self._is_over_time():
                self.backend.stop(key)

    def _relay(self, key: str) -> None:
        """Tells the search each new score of a trial; none after the one at which it was stopped."""
        trial = self.search.trials[key]
        if key not in self._scores:
            path = self.folder.trial(key).metrics
            self._scores[key] = Scores(path, self.stated.sweep.metric, step=trial.step)
        for score in self._scores[key].new():
            if self.search.trials[key].is_stopped:
                return
            is_last = score.step >= self._total_steps(key)
            self._note(Reported(key=key, step=score.step, value=score.value, is_last=is_last))

    def _total_steps(self, key: str) -> int:
        """Of a trial, by its newest plan; an attempt that has just begun has none yet."""
        if key not in self._totals:
            plans = [attempt.plan for attempt in self.folder.trial(key).attempts() if attempt.plan.exists()]
            self._totals[key] = read_plan(plans[-1]).batch.total_steps if plans else self.pace.total
        return self._totals[key]

    def _judge(self, key: str, is_left_over: bool = False) -> None:
        """A trial whose processes are gone: over, or to be started again."""
        self._relay(key)
        trial, outcome = self.search.trials[key], outcome_of(self.folder.trial(key), self.folder.log(key))
        if outcome.finished or trial.is_stopped:
            self._end(trial, "stopped_early" if trial.is_stopped else "finished")
        elif self._is_over_time():
            self._end_by_budget(trial)
        elif is_left_over:
            return  # it ended with its driver, or was stopped with it
        elif outcome.asked:
            self._end(trial, "cancelled", outcome.why)
        elif trial.falters >= self.stated.sweep.search.retries:
            self._falter(key, outcome)
            self._end(trial, "failed", outcome.why)
        else:
            self._falter(key, outcome)

    def _falter(self, key: str, outcome: Outcome) -> None:
        self._note(Faltered(key=key, why=outcome.why))
        self.say(f"trial {key}: {outcome.why}")

    def _end_by_budget(self, trial: Trial) -> None:
        self._end(trial, "out_of_budget", "search.max_hours is used up")

    def _end(self, trial: Trial, state: End, why: str = "") -> None:
        trial, seconds = self.search.trials[trial.key], worked_s(self.folder.trial(trial.key), time.time())
        self._note(
            Ended(key=trial.key, state=state, steps=trial.step, value=trial.value, seconds=round(seconds, 3), why=why)
        )
        self._scores.pop(trial.key, None)

    def _fill(self) -> None:
        """Starts as many trials as there is room for: first those that were begun, then new proposals."""
        waiting = self._waiting()
        while len(waiting) + len(self._running) < self.backend.slots and self._may_begin():
            intents = self.search.next_intents()
            if not intents:
                break
            for intent in intents:
                self._note(intent)
                waiting.append(self.search.trials[intent.key])
        room = max(0, self.backend.slots - len(self._running))
        launches = [self._launch(trial) for trial in waiting[:room]]
        if not launches:
            return
        for refused in self.backend.start(launches, self._note_start):
            self._note(Faltered(key=refused.key, why=refused.why))
            self._end(self.search.trials[refused.key], "failed", refused.why)
            self.say(f"trial {refused.key}: {refused.why}")

    def _waiting(self) -> list[Trial]:
        """Trials that were begun and do not run. Those that somebody has brought to their end, or for which no time is
        left, are over."""
        waiting = [trial for trial in self.search.open if trial.key not in self._running]
        for trial in waiting:
            if outcome_of(self.folder.trial(trial.key), self.folder.log(trial.key)).finished:
                self._judge(trial.key)
            elif self._is_over_time():
                self._end_by_budget(trial)
        return [trial for trial in waiting if self.search.trials[trial.key].end is None]

    def _launch(self, trial: Trial) -> Launch:
        words = trial_words(self.stated.sweep, trial.settings)
        seed = (f"train.seed={trial.seed}",) if "train.seed" not in trial.settings else ()
        return Launch(trial.key, self.folder.trial(trial.key), (*words, *seed))

    def _note_start(self, started: Started) -> None:
        self._note(started)
        self._running.add(started.key)
        self._gone[started.key] = 0

    def _note(self, event: AnyEvent) -> None:
        """On the disk first, then in the state. Raises MachineCannot where this driver may not write, or cannot."""
        try:
            with self.lease.fence().hold():  # one that was paused and replaced writes nothing
                self.ledger.append(event)
        except Replaced:
            raise self._taken_over() from None
        except OSError as error:
            raise MachineCannot(f"{self.folder.ledger}: cannot be written ({error.strerror}): make room") from None
        self.search.apply(event)
        self.changed(self.search)

    def _taken_over(self) -> MachineCannot:
        return MachineCannot(f"{self.folder.root}: another driver has taken this sweep over; this one does no more")

    def _may_begin(self) -> bool:
        search = self.stated.sweep.search
        if self._is_over_time():
            return False
        return search.max_gpu_hours is None or self._gpu_hours() < search.max_gpu_hours

    def _gpu_hours(self) -> float:
        now = time.time()
        seconds = [
            worked_s(self.folder.trial(trial.key), now) if trial.end is None else trial.seconds
            for trial in self.search.trials.values()
        ]
        return self.backend.gpus * sum(seconds) / 3600

    def _is_over_time(self) -> bool:
        most = self.stated.sweep.search.max_hours
        return most is not None and self.search.worked_until(time.time()) > most * 3600

    def _is_finished_early(self) -> bool:
        """Whether the budget lets no trial begin and none is left."""
        return not self.search.open and not self._may_begin()

    def _let_go(self, asked: Sequence[signal.Signals], requests: StopRequests) -> Ending:
        """A first signal: trials that end with their driver save and stop. A second SIGINT ends them at once."""
        if not self.backend.ends_with_driver:
            return "stopped"
        for key in self._running:
            self.backend.stop(key)
        if self._running:
            self.say(f"{asked[0].name}: {len(self._running)} trials save and stop; a second Ctrl-C ends them at once")
        is_urgent = list(asked).count(signal.SIGINT) > 1  # both came between two looks
        while living := self.backend.living(sorted(self._running)):
            if is_urgent or signal.SIGINT in requests.take():
                self.backend.kill(sorted(living))
                return "interrupted"
            time.sleep(self.backend.look_every_s)
        for key in sorted(self._running):
            self._judge(key, is_left_over=True)
        return "stopped"
