"""The lease under attack: real launchers and ranks, paused at chosen instructions, replaced, and woken again.

An owner is stopped whole (SIGSTOP to launcher and ranks) at one instruction, its heartbeat made old, and another
`biodist train` takes the run over. Once woken, the old owner must publish nothing, end with exit code 4, and name who
replaced it; the run must be the one that nobody disturbed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from campaign.bench import STRATEGY, WORLD_SIZE, Bench
from campaign.cases import Blow, Kind
from campaign.ground import Ground, launched
from campaign.strike import ending, processes_of, trap_of, wait_for
from campaign.traps import Moment, Trap, environment, moment
from campaign.verdict import differences, leftovers

from biodist.errors import EXIT_DONE, EXIT_MACHINE
from biodist.run.folder import RunFolder
from biodist.run.process import process_stat

pytestmark = pytest.mark.timeout(600)

ELSEWHERE = "elsewhere"  # the name of a host that is this machine, with process numbers of its own
TO_ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child", "sh", "-c")
needs_root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="a host of its own: needs root")]
OLD_S = 1000.0

STREAM = Moment("stream being made", "biodist.metrics.stream", "RunStream._append", leads=True)
OPENING = Moment("attempt being opened", "biodist.cli.train", "_open_attempt", launcher=True)
RENAME = Moment("between the check and the rename", "biodist.checkpoint.saving", "Path.rename", leads=True)


def stand_at(at: Moment | str, call: int = 1, rank: int = 0) -> Blow:
    """An instant at which a process stands still."""
    return Blow(Kind.STOP_ONE, moment(at) if isinstance(at, str) else at, call, rank)


@dataclass(frozen=True)
class Trainer:
    """One `biodist train` on a run, and the instant at which it stands still, if it does."""

    process: subprocess.Popen[bytes]
    run: RunFolder
    log: Path
    trap: Trap | None
    before: frozenset[int]  # processes of the run that others had started

    @property
    def launcher(self) -> int:
        """The launcher's number; elsewhere it is a child of what was started."""
        pid = self.process.pid
        if "unshare" not in Path(f"/proc/{pid}/cmdline").read_text():
            return pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def stand_still(self) -> None:
        """Waits until it stands at its instant."""
        assert self.trap is not None
        trap = self.trap
        assert wait_for(lambda: trap.holds is not None or self.process.poll() is not None)
        assert trap.holds is not None, self.log.read_text()

    def pause(self) -> tuple[int, ...]:
        """Stops launcher and ranks; gives their numbers. The heartbeat is made old."""
        self.stand_still()
        pids = (self.launcher, *sorted(set(all_processes_of(self.run)) - self.before))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            assert wait_for(lambda pid=pid: (stat := process_stat(pid)) is not None and stat.stopped, 30)  # type: ignore[misc]
        then = time.time() - OLD_S
        os.utime(self.run.lease, (then, then))
        return pids

    def wake(self, pids: Sequence[int]) -> int:
        """Lets it go on from where it stood; gives its exit code."""
        self.let_go()
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        return ending(self.process)

    def let_go(self) -> None:
        assert self.trap is not None
        self.trap.let_go()

    @property
    def said(self) -> str:
        return " ".join(self.log.read_text(encoding="utf-8").split())


def all_processes_of(run: RunFolder) -> list[int]:
    return list(processes_of(run.root).values())


@contextmanager
def training(
    ground: Ground,
    run: RunFolder,
    stands: Blow | None = None,
    *,
    elsewhere: bool = False,
    skips: Sequence[Trap] = (),
    strategy: str = STRATEGY,
    world_size: int = WORLD_SIZE,
    log: str = "",
) -> Iterator[Trainer]:
    """A `biodist train`; what is left of it when the block ends is killed."""
    trap = trap_of(run.root.parent, 0, stands) if stands else None
    variables = environment(ground.variables(), [*([trap] if trap else []), *skips])
    command = ground.command(run.root, strategy, world_size)
    if elsewhere:
        command = [*TO_ELSEWHERE, f'hostname {ELSEWHERE} && exec "$@"', "sh", *command]
    output = run.root.parent / f"{log or time.time_ns()}.log"
    before = frozenset(all_processes_of(run))
    with launched(command, ground.folder, variables, output) as process:
        yield Trainer(process, run, output, trap, before)


def published(run: RunFolder, owner: int) -> dict[str, tuple[int, ...]]:
    """All of a run that lies outside the owner's attempt: a file written again, even with the same bytes, differs.

    ``owner`` is the attempt's number; 0: it has made none.
    """
    own = {attempt.root for attempt in run.attempts() if attempt.number == owner}
    found = {}
    for path in sorted(run.root.rglob("*")):
        if not own.intersection(path.parents) and path not in own and path != run.lease_lock:
            stat = path.stat()
            found[str(path.relative_to(run.root))] = (
                (stat.st_ino, stat.st_size, stat.st_mtime_ns) if path.is_file() else ()
            )
    return found


@dataclass(frozen=True)
class Replaced:
    """What became of a run whose owner was replaced while it stood still, and then woke."""

    taker: Trainer
    owner: Trainer
    taker_code: int
    owner_code: int
    before: dict[str, tuple[int, ...]]
    after: dict[str, tuple[int, ...]]
    taker_pid: int

    def assert_nothing_published(self, attempt: int, undisturbed: RunFolder) -> None:
        """`attempt` is the one that took the run over."""
        assert self.taker_code == EXIT_DONE, self.taker.said
        assert self.after == self.before
        assert self.owner_code == EXIT_MACHINE, self.owner.said
        assert f"attempt {attempt} (process {self.taker_pid} on " in self.owner.said
        assert "this attempt writes nothing more" in self.owner.said and "Traceback" not in self.owner.said
        assert differences(self.owner.run, undisturbed) == []
        assert leftovers(self.owner.run) == []
        assert wait_for(lambda: not all_processes_of(self.owner.run), 10)


def replaced(
    ground: Ground,
    run: RunFolder,
    stands: Blow,
    *,
    owner_elsewhere: bool = False,
    taker_elsewhere: bool = False,
    skips: Sequence[Trap] = (),
) -> Replaced:
    """Pauses an owner, has the run trained to its end by another, and wakes the owner."""
    with training(ground, run, stands, elsewhere=owner_elsewhere, skips=skips) as owner:
        pids = owner.pause()
        number = max((attempt.number for attempt in run.attempts()), default=0)
        with training(ground, run, elsewhere=taker_elsewhere) as taker:
            taker_code = ending(taker.process)
        before = published(run, number)
        owner_code = owner.wake(pids)
        pid = 1 if taker_elsewhere else taker.process.pid
        return Replaced(taker, owner, taker_code, owner_code, before, published(run, number), pid)


@pytest.fixture
def fresh(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def half_done(bench: Bench, fresh: RunFolder) -> RunFolder:
    """A run that was stopped half-way: its next attempt resumes."""
    shutil.copytree(bench.stopped.root, fresh.root)
    return fresh


FRESH = [
    stand_at("step", 8),
    pytest.param(stand_at("save: shard", 30, rank=1), marks=pytest.mark.full),
    stand_at("before the rename", 3),
    pytest.param(stand_at("after the rename", 2), marks=pytest.mark.full),
    pytest.param(stand_at("evaluation", 1, rank=1), marks=pytest.mark.full),
    pytest.param(stand_at("save: copy", 2), marks=pytest.mark.full),
    pytest.param(stand_at("model export"), marks=pytest.mark.full),
    pytest.param(stand_at("result"), marks=pytest.mark.full),
]


@pytest.mark.parametrize("stands", FRESH, ids=lambda stands: str(stands.moment.name))
def test_an_owner_that_was_replaced_publishes_nothing(bench: Bench, fresh: RunFolder, stands: Blow) -> None:
    replaced(bench.ground, fresh, stands).assert_nothing_published(2, bench.undisturbed)


def test_nor_does_one_that_had_the_lease_and_no_attempt_yet(bench: Bench, fresh: RunFolder) -> None:
    end = replaced(bench.ground, fresh, stand_at(OPENING))
    end.assert_nothing_published(1, bench.undisturbed)
    assert len(fresh.attempts()) == 1


RESUMED = [
    pytest.param(stand_at("start-up"), marks=pytest.mark.full),
    stand_at("before the first step"),
    stand_at(STREAM, 9),
]


@pytest.mark.parametrize("stands", RESUMED, ids=lambda stands: str(stands.moment.name))
def test_nor_does_one_that_had_not_begun_to_train(bench: Bench, half_done: RunFolder, stands: Blow) -> None:
    replaced(bench.ground, half_done, stands).assert_nothing_published(3, bench.undisturbed)


@pytest.mark.parametrize(
    "taker_stands",
    [stand_at(STREAM, 9), pytest.param(stand_at("save: shard", 10, rank=1), marks=pytest.mark.full)],
    ids=str,
)
def test_it_does_no_harm_to_who_replaced_it_while_that_one_works(
    bench: Bench, half_done: RunFolder, taker_stands: Blow
) -> None:
    """The owner stands just before it sweeps away what dead attempts left, and finds its replacer's when it wakes."""
    run, ground = half_done, bench.ground
    with training(ground, run, stand_at("before the first step")) as owner:
        pids = owner.pause()
        with training(ground, run, taker_stands) as taker:
            taker.stand_still()
            before = published(run, 2)
            assert any(Path(name).name.startswith(".") for name in before), "nothing unfinished to do harm to"
            assert owner.wake(pids) == EXIT_MACHINE, owner.said
            before.pop("lease.json")  # the taker's heart beats, and what it writes to may grow
            after = published(run, 2)
            assert {name: after.get(name, ("gone",))[:1] for name in before} == {n: s[:1] for n, s in before.items()}
            taker.let_go()
            assert ending(taker.process) == EXIT_DONE, taker.said
            assert f"attempt 3 (process {taker.process.pid} on {socket.gethostname()}, since 2" in owner.said
    assert differences(run, bench.undisturbed) == [] and leftovers(run) == []


@pytest.mark.parametrize(
    "stands",
    [stand_at(RENAME), pytest.param(stand_at("retention"), marks=pytest.mark.full)],
    ids=lambda stands: str(stands.moment.name),
)
def test_an_owner_that_stands_inside_a_publication_is_not_replaced(
    bench: Bench, fresh: RunFolder, stands: Blow
) -> None:
    """However old its heartbeat is: it would publish as soon as it woke. Who asks is told to wake or to end it."""
    with training(bench.ground, fresh, stands) as owner:
        pids = owner.pause()
        before = published(fresh, 1)
        with training(bench.ground, fresh) as asker:
            assert ending(asker.process) == EXIT_MACHINE, asker.said
        assert f"attempt 1 (process {owner.process.pid} on " in asker.said
        assert "paused while it publishes: continue its processes (kill -CONT), or end them" in asker.said
        assert published(fresh, 1) == before and len(fresh.attempts()) == 1
        assert owner.wake(pids) == EXIT_DONE, owner.said
    assert differences(fresh, bench.undisturbed) == [] and leftovers(fresh) == []


@pytest.mark.parametrize("owner_elsewhere", [True, False], ids=["owner elsewhere", "taker elsewhere"])
def test_between_hosts_a_living_owner_is_left_alone_and_a_silent_one_replaced(
    bench: Bench, fresh: RunFolder, owner_elsewhere: bool
) -> None:
    ground, stands = bench.ground, stand_at("step", 8)
    with training(ground, fresh, stands, elsewhere=owner_elsewhere) as owner:
        owner.stand_still()
        with training(ground, fresh, elsewhere=not owner_elsewhere) as asker:
            assert ending(asker.process) == EXIT_MACHINE, asker.said
        host, pid = (ELSEWHERE, 1) if owner_elsewhere else (socket.gethostname(), owner.process.pid)
        assert f"attempt 1 writes to this run, process {pid} on {host}, since 2" in asker.said
        assert "its lease runs out 60 s after that" in asker.said and len(fresh.attempts()) == 1
        pids = owner.pause()
        with training(ground, fresh, elsewhere=not owner_elsewhere) as taker:
            assert ending(taker.process) == EXIT_DONE, taker.said
        before = published(fresh, 1)
        assert owner.wake(pids) == EXIT_MACHINE, owner.said
        host = socket.gethostname() if owner_elsewhere else ELSEWHERE
        assert f" on {host}, since 2" in owner.said and "attempt 2 (process " in owner.said
        assert published(fresh, 1) == before
    assert differences(fresh, bench.undisturbed) == [] and leftovers(fresh) == []


test_between_hosts_a_living_owner_is_left_alone_and_a_silent_one_replaced.pytestmark += needs_root  # type: ignore[attr-defined]


def test_without_the_check_a_woken_owner_is_found_out(bench: Bench, fresh: RunFolder) -> None:
    """Sabotage: in the owner, the look at the lease does nothing."""
    skips = [Trap("biodist.run.lease", "Fence.check", "", 0, rank, "", "", skips=True) for rank in (None, 0, 1)]
    end = replaced(bench.ground, fresh, stand_at("step", 8), skips=skips)
    assert end.taker_code == EXIT_DONE, end.taker.said
    assert "result.json" in {name for name in end.before if end.after.get(name) != end.before[name]}
    assert end.owner_code != EXIT_MACHINE


def test_of_two_started_at_once_exactly_one_trains(ground: Ground, tmp_path: Path) -> None:
    """Several rounds: new runs, and one whose holder was killed. The last one is left to finish."""
    undisturbed = ground.undisturbed("ddp", 1)
    run = RunFolder(tmp_path / "run")
    for folder, number in (("one", 1), ("one", 2), ("run", 1)):
        run = RunFolder(tmp_path / folder / "run")
        run.root.parent.mkdir(exist_ok=True)
        with two_at_once(ground, run, number) as (winner, loser):
            who = f"attempt {number} writes to this run, process {winner.process.pid} on "
            assert f"{who}{socket.gethostname()}, since 2" in loser.said, (folder, number, loser.said)
            assert f"wait for it to end, or stop it with `kill {winner.process.pid}`" in loser.said
            if folder == "run":
                assert ending(winner.process) == EXIT_DONE, winner.said
    assert len(run.attempts()) == 1
    assert differences(run, undisturbed) == [] and leftovers(run) == []


@contextmanager
def two_at_once(ground: Ground, run: RunFolder, number: int) -> Iterator[tuple[Trainer, Trainer]]:
    """Starts two; gives the one that trains, once its attempt ``number`` is there, and the one that was refused."""
    first, second = (training(ground, run, strategy="ddp", world_size=1, log=f"{n}-{time.time_ns()}") for n in range(2))
    with first as one, second as two:
        assert wait_for(lambda: any(trainer.process.poll() is not None for trainer in (one, two)))
        winner, loser = sorted((one, two), key=lambda trainer: trainer.process.poll() is not None)
        assert ending(loser.process) == EXIT_MACHINE, loser.said
        assert wait_for(lambda: len(run.attempts()) == number), (winner.said, loser.said)
        yield winner, loser
