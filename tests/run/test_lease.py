"""One writer a run, held by real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from biodist.errors import MachineCannot
from biodist.run.folder import RunFolder
from biodist.run.lease import Fence, Lease, LeaseRecord, RunHeld, holder_of
from biodist.run.records import AttemptRecord

pytestmark = pytest.mark.timeout(120)

HOLDER = """
import sys
from pathlib import Path
from biodist.run.folder import RunFolder
from biodist.run.lease import Lease
lease = Lease.acquire(RunFolder(Path(sys.argv[1])), beat_s=0.05)
print(lease.token, flush=True)
lease.lost.wait()
print("lost", flush=True)
"""

# Takes the runs named on its standard input, one at a time, and says whether it got them; holds what it got.
RACER = """
import sys
from pathlib import Path
from biodist.errors import MachineCannot
from biodist.run.folder import RunFolder
from biodist.run.lease import Lease
held = []
print("ready", flush=True)
for line in sys.stdin:
    try:
        held.append(Lease.acquire(RunFolder(Path(line.strip())), beat_s=1000))
        print("won", flush=True)
    except MachineCannot:
        print("refused", flush=True)
"""


LOCKER = "import fcntl,sys; f=open(sys.argv[1],'a'); fcntl.flock(f,fcntl.LOCK_EX); print('x',flush=True); input()"


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@contextmanager
def holding(run: RunFolder) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds the run, and its token."""
    process = start(HOLDER, str(run.root))
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=30)


def until(what: str, done: object) -> None:
    deadline = time.monotonic() + 30
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def age(run: RunFolder, seconds: float) -> None:
    """Makes the lease as old as if its holder had not beaten for so long."""
    then = time.time() - seconds
    os.utime(run.lease, (then, then))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.prepare(tmp_path / "my run ü")


def test_it_says_who_writes_and_is_gone_when_released(run: RunFolder) -> None:
    with Lease.acquire(run, job="123", restart=2) as lease:
        written = json.loads(run.lease.read_text())
        assert (written["attempt"], written["pid"], written["job"], written["restart"]) == (1, os.getpid(), "123", 2)
        assert written["token"] == lease.token and lease.replaced is None
        lease.fence().check()
    assert not run.lease.exists()
    with pytest.raises(MachineCannot, match="lease is gone"):
        lease.fence().check()
    lease.release()


def test_it_is_for_the_next_attempt(run: RunFolder) -> None:
    run.new_attempt()
    with Lease.acquire(run) as lease:
        assert lease.record.attempt == 2


def test_a_living_holder_is_named(run: RunFolder) -> None:
    with holding(run) as (process, token):
        with pytest.raises(MachineCannot) as caught:
            Lease.acquire(run)
        message = str(caught.value)
        assert f"process {process.pid} on {os.uname().nodename}" in message
        assert f"stop it with `kill {process.pid}`" in message and " since 2" in message and "attempt 1" in message
        Fence(run, 1, token).check()
        with pytest.raises(MachineCannot, match=f"process {process.pid}"):
            Fence(run, 1, "another").check()


def test_a_living_holder_that_does_not_beat_is_not_replaced(run: RunFolder) -> None:
    with Lease.acquire(run, beat_s=1000):
        age(run, 10_000)
        with pytest.raises(MachineCannot, match=r"last heartbeat 100\d\d s ago"):
            Lease.acquire(run)


def test_a_killed_holder_is_replaced_at_once(run: RunFolder) -> None:
    with holding(run) as (process, token):
        process.kill()
        process.wait(30)
        with Lease.acquire(run) as lease:
            assert lease.replaced is not None and lease.replaced.token == token
            with pytest.raises(MachineCannot, match="has taken this run over"):
                Fence(run, 1, token).check()


def test_a_holder_that_ended_but_was_not_collected_is_replaced(run: RunFolder) -> None:
    with holding(run) as (process, _):
        os.kill(process.pid, signal.SIGKILL)
        until("it ended", lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "Z")
        Lease.acquire(run).release()


def test_a_process_with_a_dead_holders_number_is_not_the_holder(run: RunFolder) -> None:
    with Lease.acquire(run, beat_s=1000) as mine:
        other = mine.record.model_copy(update={"process_start_ticks": mine.record.process_start_ticks - 1})
        other.save(run.lease)
        with Lease.acquire(run) as lease:
            assert lease.replaced == other


def test_a_paused_holder_is_replaced_only_when_stale_and_finds_out(run: RunFolder) -> None:
    with holding(run) as (process, _):
        os.kill(process.pid, signal.SIGSTOP)
        until("it stands", lambda: Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T")
        with pytest.raises(MachineCannot, match=f"paused.*kill -CONT {process.pid}"):
            Lease.acquire(run)
        age(run, 100)
        with Lease.acquire(run, beat_s=0.05) as lease:
            os.kill(process.pid, signal.SIGCONT)
            assert process.stdout is not None and process.stdout.readline().strip() == "lost"
            lease.fence().check()


def test_a_holder_elsewhere_is_judged_by_its_heartbeat(run: RunFolder) -> None:
    with Lease.acquire(run, beat_s=1000) as mine:
        mine.record.model_copy(update={"process_space": "elsewhere", "host": "node7", "token": "t"}).save(run.lease)
        with pytest.raises(MachineCannot, match=r"on node7.*runs out 60 s after"):
            Lease.acquire(run)
        age(run, 40)
        with pytest.raises(MachineCannot, match="node7"):
            Lease.acquire(run)
        age(run, 80)
        Lease.acquire(run).release()


def test_an_earlier_life_of_the_same_job_is_gone(run: RunFolder) -> None:
    """Seen from another host, with a heartbeat of just now: the cluster ended it before it started the job again."""
    with Lease.acquire(run, job="7", restart=1, beat_s=1000) as mine:
        elsewhere = mine.record.model_copy(update={"process_space": "elsewhere", "host": "node7", "token": "t"})
        elsewhere.save(run.lease)
        for job, restart in ((None, 0), ("7", 1), ("7", 0), ("8", 2)):
            with pytest.raises(RunHeld, match=r"on node7 \(job 7\)"):
                Lease.acquire(run, job=job, restart=restart)
        with Lease.acquire(run, job="7", restart=2) as lease:
            assert lease.replaced == elsewhere and lease.record.restart == 2


def test_an_earlier_life_that_can_be_seen_to_live_is_not_gone(run: RunFolder) -> None:
    with Lease.acquire(run, job="7", beat_s=1000), pytest.raises(RunHeld, match=f"kill {os.getpid()}"):
        Lease.acquire(run, job="7", restart=1)


def test_a_holder_is_waited_for_and_that_is_said_once(run: RunFolder) -> None:
    said: list[str] = []
    with holding(run) as (process, token):
        ending = threading.Timer(1.5, process.kill)
        ending.start()
        with Lease.acquire(run, wait_s=60, say=said.append) as lease:
            assert lease.replaced is not None and lease.replaced.token == token
        ending.join()
    (line,) = said
    assert f"process {process.pid}" in line and "Waiting for it, 60 s at most" in line


def test_a_holder_elsewhere_is_waited_for_until_its_heartbeat_is_old(run: RunFolder) -> None:
    with Lease.acquire(run, beat_s=1000) as mine:
        mine.record.model_copy(update={"process_space": "elsewhere", "token": "t"}).save(run.lease)
        Lease.acquire(run, wait_s=60, stale_s=2).release()


def test_waiting_ends(run: RunFolder) -> None:
    with holding(run) as (process, _), pytest.raises(RunHeld, match=f"process {process.pid}"):
        Lease.acquire(run, wait_s=1.2)


def test_nobody_takes_a_run_over_from_within_a_fence(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder is dead by every other sign; the lock it holds is what counts, and an asker is told of it."""
    monkeypatch.setattr("biodist.run.lease._LOCK_WAIT_S", 0.3)
    with Lease.acquire(run, beat_s=1000) as lease:
        with lease.fence().hold():
            lease.record.model_copy(update={"process_start_ticks": 1}).save(run.lease)
            with pytest.raises(RunHeld, match=rf"lease\.lock: .*attempt 1 \(process {os.getpid()}.*paused while it"):
                Lease.acquire(run)
            assert (holder := holder_of(run)) is not None and holder.token == lease.token
        with Lease.acquire(run) as other, pytest.raises(MachineCannot, match="has taken this run over"):
            assert other.replaced is not None
            with lease.fence().hold():
                pytest.fail("a replaced holder came through", pytrace=False)


def test_a_fence_lets_go_when_its_block_fails(run: RunFolder) -> None:
    with Lease.acquire(run, beat_s=1000) as lease:
        with pytest.raises(OSError, match="disk"), lease.fence().hold():
            raise OSError("the disk is full")
        with lease.fence().hold():
            pass


def test_who_replaced_an_attempt_is_named_after_it_has_let_go(run: RunFolder) -> None:
    """The attempt after ours, not the last one: that one replaced another."""
    lease = Lease.acquire(run, beat_s=1000)
    fence = lease.fence(run.new_attempt())
    lease.release()
    for host in ("node8", "node9"):
        record = AttemptRecord(
            number=2, outcome="running", host=host, pid=12, world_size=1, strategy="ddp", started=1e9
        )
        record.save(run.new_attempt().record)
    with pytest.raises(MachineCannot, match=r"attempt 2 \(process 12 on node8, since 2001.*let go of it; this attempt"):
        fence.check()
    (run.attempts()[1].record).write_text("damaged")
    with pytest.raises(MachineCannot, match="attempt 2 had taken this run over"):
        fence.check()


def test_without_a_lease_nothing_is_fenced(run: RunFolder) -> None:
    with Fence(run, 1, "").hold():
        assert not run.lease_lock.exists()
    Fence(run, 1, "").check()


def test_the_heartbeat_goes_on(run: RunFolder) -> None:
    with Lease.acquire(run, beat_s=0.02) as lease:
        first = json.loads(run.lease.read_text())["heartbeat"]
        until("a beat", lambda: json.loads(run.lease.read_text())["heartbeat"] > first)
        assert not lease.lost.is_set()
        lease.fence().check()


def test_a_lease_taken_over_is_not_released_by_its_old_holder(run: RunFolder) -> None:
    old = Lease.acquire(run, beat_s=0.02)
    new = old.record.model_copy(update={"token": "new", "attempt": 2})
    until("lost", lambda: old.lost.is_set() or new.save(run.lease))  # again, should a beat have crossed it
    old.release()
    assert holder_of(run) == new


def test_a_damaged_lease_is_not_taken_for_none(run: RunFolder) -> None:
    run.lease.write_text('{"attempt": ')
    with pytest.raises(MachineCannot, match=r"lease\.json: not a LeaseRecord.*remove it if no process"):
        Lease.acquire(run)


def test_a_lock_that_is_never_given_back_is_named(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biodist.run.lease._LOCK_WAIT_S", 0.2)
    other = start(LOCKER, str(run.lease_lock))
    try:
        assert other.stdout is not None and other.stdout.readline() == "x\n"
        with pytest.raises(MachineCannot, match=r"lease\.lock: another process has held this lock"):
            Lease.acquire(run)
    finally:
        other.communicate("\n", timeout=30)


def race(racers: list[subprocess.Popen[str]], run: RunFolder) -> list[str]:
    """Sends every racer for one run at the same time."""
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(f"{run.root}\n")
    gate = threading.Barrier(len(racers))

    def go(racer: subprocess.Popen[str]) -> None:
        gate.wait(30)
        assert racer.stdin is not None
        racer.stdin.flush()

    threads = [threading.Thread(target=go, args=(racer,)) for racer in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]


def test_of_several_that_come_at_once_exactly_one_wins(tmp_path: Path) -> None:
    """100 rounds of three processes: free runs, and runs whose holder was killed."""
    with Lease.acquire(RunFolder.prepare(tmp_path / "template"), beat_s=1000) as lease:
        dead = lease.record.model_copy(update={"process_start_ticks": 1})
    racers = [start(RACER) for _ in range(3)]
    try:
        assert [racer.stdout.readline().strip() for racer in racers if racer.stdout] == ["ready"] * 3
        for number in range(100):
            run = RunFolder.prepare(tmp_path / str(number))
            if number % 2:
                dead.save(run.lease)
            assert sorted(race(racers, run)) == ["refused", "refused", "won"], number
            assert isinstance(holder_of(run), LeaseRecord)
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate(timeout=30)
