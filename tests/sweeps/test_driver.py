"""The driver dies before and after every line of its ledger: no trial is lost, none runs twice, nothing is decided
otherwise."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biodist.errors import MachineCannot
from biodist.run.lease import LeaseRecord
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.backend import Launch
from biodist.sweeps.driver import Driver
from biodist.sweeps.ledger import AnyEvent, Intent, Ledger, Reported, Started

from .conftest import Bench, Killed, MortalLedger

pytestmark = pytest.mark.timeout(240)
TRIALS = 4
GO_ON = "`biodist sweep --resume` takes them up, `biodist cancel` ends them"
ONE = ("search.concurrency=1", f"search.trials={TRIALS}")


def mortal(at: int, before: bool) -> Callable[[Path], Ledger]:
    return lambda path: MortalLedger(path, at, before)


def killed_again_and_again(bench: Bench, every: int, before: bool) -> int:
    """Drives to the end with drivers that each write so many lines at most; gives how many died."""
    for deaths in range(400):
        try:
            assert bench.drive(mortal(every, before)) == "done"
            return deaths
        except Killed:
            continue
    raise AssertionError("400 drivers did not bring the sweep to its end")


def is_sound(bench: Bench, trials: int) -> None:
    """Every trial once: intended, run, over; no score told twice; none lives that the ledger has ended."""
    keys = [event.key for event in bench.told("intent")]
    assert len(keys) == len(set(keys)) == trials
    assert sorted(event.key for event in bench.told("ended")) == sorted(keys)
    assert bench.world.starts == dict.fromkeys(keys, 1), "a trial was started twice, or is not in the ledger"
    told = [(event.key, event.step) for event in bench.told("reported")]
    assert len(told) == len(set(told))
    assert not bench.world.progress


@pytest.mark.parametrize("noted_first", [True, False], ids=["noted, then started", "started, then noted"])
@pytest.mark.parametrize("before", [True, False], ids=["before the line", "after it"])
def test_a_driver_dies_at_every_line(bench: Callable[..., Bench], noted_first: bool, before: bool) -> None:
    """At concurrency 1 each trial, score and decision is that of the undisturbed sweep."""
    undisturbed = bench(*ONE, noted_first=noted_first)
    assert undisturbed.drive() == "done"
    is_sound(undisturbed, TRIALS)
    lines = len(undisturbed.events())
    assert any(state == "stopped_early" for _, _, state, _, _ in undisturbed.results())
    for at in range(1, lines + 1):
        disturbed = bench(*ONE, noted_first=noted_first)
        with pytest.raises(Killed):
            disturbed.drive(mortal(at, before))
        assert disturbed.drive() == "done"
        is_sound(disturbed, TRIALS)
        assert disturbed.results() == undisturbed.results(), f"killed at line {at}"


@pytest.mark.parametrize("searcher", ["random", "tpe"])
@pytest.mark.parametrize("scheduler", ["none", "asha", "median"])
def test_drivers_that_live_for_three_lines(bench: Callable[..., Bench], searcher: str, scheduler: str) -> None:
    disturbed = bench(f"search.searcher={searcher}", f"search.scheduler={scheduler}", noted_first=False)
    assert killed_again_and_again(disturbed, 3, before=False) > 12
    is_sound(disturbed, 12)


def test_seeds_of_a_configuration_are_kept_together(bench: Callable[..., Bench]) -> None:
    """A driver that dies between the intents of two seeds leaves a configuration that is made whole."""
    disturbed = bench("search.trials=4", "search.seeds=3")
    assert killed_again_and_again(disturbed, 3, before=True) > 4
    is_sound(disturbed, 12)
    assert [event.proposal for event in disturbed.told("intent")] == sorted([1, 2, 3, 4] * 3)
    first = [event.seed for event in disturbed.told("intent") if event.proposal == 1]
    assert first == [first[0], first[0] + 1, first[0] + 2]


class LateIntent(Driver):
    """The mistake that all of this is against: a trial is started before it is intended."""

    def _fill(self) -> None:
        waiting = [trial for trial in self.search.open if trial.key not in self._running]
        if waiting or self._running:
            super()._fill()
            return
        for intent in self.search.next_intents():
            self._start_early(intent)

    def _start_early(self, intent: Intent) -> None:
        words = (f"train.learning_rate={intent.settings['train.learning_rate']}", "train.seed=1")
        launch = Launch(intent.key, self.folder.trial(intent.key), words)

        def note(started: Started) -> None:
            self._note(intent)
            self._note_start(started)

        self.backend.start([launch], note)


def test_a_start_before_its_intent_is_found_out(bench: Callable[..., Bench]) -> None:
    found = 0
    for at in range(1, 8):
        disturbed = bench(*ONE, driver=LateIntent, noted_first=False)
        with pytest.raises(Killed):
            disturbed.drive(mortal(at, before=True))
        try:
            disturbed.drive()
            is_sound(disturbed, TRIALS)
        except AssertionError:
            found += 1
    assert found


def test_failing_trials_are_retried_then_given_up(bench: Callable[..., Bench]) -> None:
    one = bench("search.trials=6", "search.retries=2", "search.searcher=random", failing=frozenset({2, 5}))
    assert one.drive() == "done"
    ends = {event.key[-4:]: event.state for event in one.told("ended")}
    assert sorted(number for number, state in ends.items() if state == "failed") == ["0002", "0005"]
    assert {key[-4:]: count for key, count in one.world.starts.items() if count > 1} == {"0002": 3, "0005": 3}
    assert all("killed" in event.why for event in one.told("faltered"))


def test_nothing_begins_once_the_hours_are_used_up(bench: Callable[..., Bench]) -> None:
    one = bench("search.max_hours=1e-9", "search.trials=4")
    assert one.drive() == "done"
    assert {event.state for event in one.told("ended")} <= {"out_of_budget", "finished"} and len(one.told("intent")) < 4
    assert not one.world.progress


def test_trials_that_the_scheduler_stops_are_ended(bench: Callable[..., Bench]) -> None:
    one = bench()
    assert one.drive() == "done"
    early = sorted(event.key for event in one.told("ended") if event.state == "stopped_early")
    finished_meanwhile = {key for key in early if one.folder.trial(key).result.exists()}
    assert early and set(one.world.stopped) == set(early) - finished_meanwhile


@pytest.mark.parametrize("noted_first", [True, False])
def test_a_trial_that_ended_before_its_start_was_noted(bench: Callable[..., Bench], noted_first: bool) -> None:
    """The driver dies between a job and its line in the ledger; the job is over before the next driver comes."""
    one = bench(*ONE, noted_first=noted_first)
    with pytest.raises(Killed):
        one.drive(mortal(3, before=not noted_first))
    while one.world.progress:
        one.world.living([])
    assert one.drive() == "done"
    is_sound(one, TRIALS)


def test_nothing_waits_for_hours_that_are_used_up(bench: Callable[..., Bench], stated: Any) -> None:
    one = bench(*ONE)
    with pytest.raises(Killed):
        one.drive(mortal(3, before=True))
    one.stated = stated(*ONE, "search.max_hours=1e-9")
    assert one.drive() == "done"
    assert [event.state for event in one.told("ended")] == ["out_of_budget"] and not one.world.starts


class Usurper(Ledger):
    """After its fifth line another driver has the lease."""

    lines = 0

    def append(self, event: AnyEvent) -> None:
        super().append(event)
        self.lines += 1
        if self.lines == 5:
            driver = SweepFolder(self.path.parent).driver
            LeaseRecord.load(driver.lease).model_copy(update={"token": "another"}).save(driver.lease)


class Pressed(Ledger):
    """Ctrl-C is pressed so often between two looks, while trials run."""

    times = 1

    def append(self, event: AnyEvent) -> None:
        super().append(event)
        if isinstance(event, Reported):
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


class PressedTwice(Pressed):
    times = 2


@pytest.mark.parametrize(("pressed", "ending"), [(Pressed, "stopped"), (PressedTwice, "interrupted")])
def test_a_second_ctrl_c_ends_trials_at_once(bench: Callable[..., Bench], pressed: type[Ledger], ending: str) -> None:
    one = bench(*ONE, ends_with_driver=True, stubborn=True)
    assert one.drive(pressed) == ending
    assert one.drive() == "done"


def test_a_driver_that_was_replaced_writes_nothing_more(bench: Callable[..., Bench]) -> None:
    one = bench()
    with pytest.raises(MachineCannot, match="another driver has taken this sweep over"):
        one.drive(Usurper)
    assert len(one.events()) == 5


class FullDisk(Ledger):
    def append(self, event: AnyEvent) -> None:
        if isinstance(event, Reported):
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(event)


def test_a_full_disk_ends_the_driver_and_nothing_else(bench: Callable[..., Bench]) -> None:
    one = bench(*ONE)
    with pytest.raises(MachineCannot, match=r"ledger\.jsonl: cannot be written \(No space left on device\)"):
        one.drive(FullDisk)
    assert one.said == [f"1 trials of {one.folder.root} go on without this driver: " + GO_ON]
    assert one.drive() == "done"
    is_sound(one, TRIALS)


def test_no_setting_of_a_trial_makes_it_read_test(bench: Callable[..., Bench]) -> None:
    rates = "train.learning_rate: {choice: [1e-3]}"
    one = bench(f"space={{{rates}, evaluate: {{choice: [{{test: true, every: 10}}]}}}}", "search.trials=1")
    assert one.drive() == "done"
    [intent] = one.told("intent")
    words = (one.folder.trial(intent.key).root / "words").read_text().splitlines()
    assert words.index("evaluate.test=false") > next(n for n, word in enumerate(words) if word.startswith("evaluate={"))
    assert not one.stated.trial_recipe(intent.settings).evaluate.test


def test_a_second_driver_is_refused(bench: Callable[..., Bench]) -> None:
    from biodist.run.lease import Lease, RunHeld

    one = bench()
    with Lease.acquire(one.folder.driver), pytest.raises(RunHeld):
        one.drive()


def test_more_trials_can_follow(bench: Callable[..., Bench], stated: Any) -> None:
    one = bench(*ONE)
    assert one.drive() == "done"
    one.stated = stated("search.concurrency=1", "search.trials=8")
    assert one.drive() == "done"
    is_sound(one, 8)
    longer = bench("search.concurrency=1", "search.trials=8")
    assert longer.drive() == "done"
    assert one.results() == longer.results()


def test_a_sweeps_folder_shows_its_trials_and_nothing_else_as_runs(bench: Callable[..., Bench]) -> None:
    from biodist.run.folder import RunFolder

    one = bench()
    one.drive()
    for run in one.folder.trials.iterdir():
        (run / "lease.lock").touch()  # as an ordinary run has it
    folders = [path for path in one.folder.root.rglob("*") if path.is_dir() and RunFolder(path).is_run()]
    assert sorted(path.name for path in folders) == sorted(one.folder.trial_keys())
