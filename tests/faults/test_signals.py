"""A wish to stop, at every stage of a run's life: it is saved and can go on; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaign.bench import STRATEGY, WORLD_SIZE, Bench
from campaign.cases import Blow, Kind
from campaign.ground import launched
from campaign.strike import ending, processes_of, trap_of, wait_for
from campaign.traps import Moment, Trap, environment, moment
from campaign.verdict import differences, leftovers

from biodist.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_STOPPED
from biodist.run.folder import RunFolder
from biodist.run.records import AttemptRecord

pytestmark = pytest.mark.timeout(900)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
PREPARING = moment("data preparation")
STARTING = Moment("the launcher starts ranks", "launch.ranks", "Ranks._start", launcher=True)
STAGES = (
    Blow(Kind.TERM, PREPARING, 1, 0),
    Blow(Kind.TERM, STARTING, 2, 0),  # one rank is there, the other is not
    Blow(Kind.TERM, moment("before the first step"), 1, 1),
    Blow(Kind.TERM, moment("step"), 3, 1),
    Blow(Kind.TERM, moment("save: shard"), 10, 1),
    Blow(Kind.TERM, moment("evaluation"), 1, 1),
)


@dataclass(frozen=True)
class Standing:
    """A `biodist train` of which one process stands still at a stage."""

    launcher: subprocess.Popen[bytes]
    trap: Trap
    log: Path

    def ask(self, number: signal.Signals) -> None:
        """Sends it to the launcher, and waits until that one has said so, or ended."""
        said = self.log.stat().st_size
        self.launcher.send_signal(number)
        # While ranks are being started it says nothing: it has taken the signal by then, in a handler.
        wait_for(lambda: self.log.stat().st_size > said or self.launcher.poll() is not None, 3)

    @property
    def said(self) -> str:
        return " ".join(self.log.read_text(encoding="utf-8").split())


@contextmanager
def standing(bench: Bench, run: RunFolder, stage: Blow) -> Iterator[Standing]:
    """An attempt of ``run`` that stands still at ``stage``; its data is prepared in a cache of the run's own."""
    folder = run.root.parent
    trap = trap_of(folder, 0, stage)
    variables = environment(bench.ground.variables(folder / "cache"), [trap])
    command = bench.ground.command(run.root, STRATEGY, WORLD_SIZE)
    log = folder / f"{stage.moment.name}.log"
    with launched(command, bench.ground.folder, variables, log) as launcher:
        assert wait_for(lambda: trap.holds is not None or launcher.poll() is not None)
        assert trap.holds is not None, log.read_text()
        yield Standing(launcher, trap, log)
    assert wait_for(lambda: not processes_of(run.root), 10), "processes were left behind"


def finishes_equal(bench: Bench, run: RunFolder) -> None:
    """The run goes to its end as if nobody had disturbed it."""
    variables, log = bench.ground.variables(run.root.parent / "cache"), run.root.parent / "last.log"
    command = bench.ground.command(run.root, STRATEGY, WORLD_SIZE)
    with launched(command, bench.ground.folder, variables, log) as launcher:
        assert ending(launcher) == EXIT_DONE, log.read_text()
    assert differences(run, bench.undisturbed) == [] and leftovers(run) == []


@pytest.mark.parametrize(
    "turn", [0, *(pytest.param(turn, marks=pytest.mark.full) for turn in range(1, len(SIGNALS)))], ids="turn {}".format
)
def test_the_first_signal_stops_a_run_at_every_stage(bench: Bench, tmp_path: Path, turn: int) -> None:
    """One run, stopped once at each stage, each time by the next signal; the turns together are the whole product."""
    run = RunFolder(tmp_path / "run")
    for index, stage in enumerate(STAGES):
        number = SIGNALS[(index + turn) % len(SIGNALS)]
        with standing(bench, run, stage) as one:
            one.ask(number)
            one.trap.let_go()
            assert ending(one.launcher) == EXIT_STOPPED, (stage, one.said)
        assert "Traceback" not in one.said
        if stage.moment is PREPARING:
            assert f"{number.name}: stopped before training began" in one.said and not run.attempts()
        else:
            assert f"{number.name}: stopping after this step" in one.said, stage
            assert AttemptRecord.load(run.attempts()[-1].record).outcome == "stopped"
    *resumed, last = [AttemptRecord.load(attempt.record).resumed_step for attempt in run.attempts()]
    assert resumed == [0, 0, 0, 3], "a stop loses no step"
    assert last is not None and last >= 5
    finishes_equal(bench, run)


def test_a_second_interrupt_ends_a_run_at_once_at_every_stage(bench: Bench, tmp_path: Path) -> None:
    """While data is prepared the first one has ended it already. Nothing stands in the way of the next attempt."""
    run = RunFolder(tmp_path / "run")
    for stage in STAGES:
        with standing(bench, run, stage) as one:
            one.ask(signal.SIGINT)
            if stage.moment is PREPARING:
                assert ending(one.launcher) == EXIT_STOPPED, one.said
                continue
            assert one.launcher.poll() is None, one.said
            one.ask(signal.SIGINT)
            if stage.moment is STARTING:  # it stands there itself
                one.trap.let_go()
            assert ending(one.launcher) == EXIT_INTERRUPTED, (stage, one.said)
        assert "second SIGINT: ended at once" in one.said and "Traceback" not in one.said
    finishes_equal(bench, run)
