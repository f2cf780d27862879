"""One writer a run.

`lease.json` says who writes here; it is read and changed only under an exclusive `flock` of `lease.lock`, and
replaced by rename. Linux passes flock on to an NFS server (v3 with lockd, v4), so this holds between hosts as well;
a file system that has no locks is refused. A lease's age is measured by the file system's own clock (when
`lease.json` was written against when `lease.lock` was just touched), so the clocks of two hosts need not agree.

When is a holder gone?

* Seen from the same boot of the same machine (and the same container): when its process is gone; the process's
  start time tells it from another that got its number. A paused one (Ctrl-Z, SIGSTOP) is gone when its heartbeat is
  older than `stale_s` as well. A holder that runs but does not beat (a laptop just woken, a disk that hangs) is
  never gone: the user can end it.
* Seen from elsewhere: when its heartbeat is older than `stale_s`; at once when it was an earlier life of the very job
  that asks, which the cluster ended before it started this one.

A holder can be replaced while it stands still, and wake at any instruction. It finds out at its next beat (`lost`).
What keeps it from harm until then is its `Fence`: whatever an attempt changes outside its own folder it changes while
it holds the lock, after having found its token in `lease.json`. Nobody takes a run over without that lock, so there is
no instant between the look and the act at which it can be replaced; one that is paused inside is not replaced at all,
and whoever wants the run is told so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType

from biodist.errors import MachineCannot, RunFailed
from biodist.run.durable import sync_folder
from biodist.run.folder import AttemptFolder, RunFolder
from biodist.run.process import process_space, process_stat
from biodist.run.records import AttemptRecord, Record

STALE_S = 60.0
BEAT_S = 5.0
_LOCK_WAIT_S = 15.0
_LOOK_AGAIN_S = 1.0


class RunHeld(MachineCannot):
    """Another process holds the run. It may end: asking again can help."""


class Replaced(MachineCannot):
    """Another attempt has taken the run over."""


class LeaseRecord(Record):
    """What `lease.json` holds. Times are UNIX seconds by the holder's clock, for people to read."""

    attempt: int
    host: str
    pid: int
    process_start_ticks: int
    process_space: str
    job: str | None  # of the cluster, if it runs in one
    restart: int = 0  # how often the cluster had started that job again
    since: float
    heartbeat: float
    token: str


class Lease:
    """The right to write to a run, held by this process until released. A context manager.

    ``token`` goes to the workers; ``lost`` is set once another process has taken the run over; ``replaced`` is the
    holder that was gone when this one took over, if any.
    """

    def __init__(self, run: RunFolder, record: LeaseRecord, replaced: LeaseRecord | None, beat_s: float):
        self.run = run
        self.record = record
        self.replaced = replaced
        self.lost = threading.Event()
        self._done = threading.Event()
        self._beat_s = beat_s
        self._thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)
        self._thread.start()

    @property
    def token(self) -> str:
        return self.record.token

    @classmethod
    def acquire(
        cls,
        run: RunFolder,
        attempt: int | None = None,
        *,
        job: str | None = None,
        restart: int = 0,
        wait_s: float = 0.0,
        say: Callable[[str], None] | None = None,
        stale_s: float = STALE_S,
        beat_s: float = BEAT_S,
    ) -> Lease:
        """Takes the run for `attempt` (the run's next one when not given: make its folder after this).

        `job` is the cluster's number of the job this process is of, if it is, and `restart` how often the cluster had
        started it again: an earlier life of it that held the run is gone. While another process holds the run it is
        asked again for `wait_s` seconds, which `say` is told once; longer than `stale_s`, that outlasts every dead
        holder elsewhere.

        Raises RunHeld when another process holds the run, MachineCannot when the file system cannot lock.
        """
        until = time.monotonic() + wait_s
        said = False
        while True:
            try:
                record, replaced = _take(run, attempt, job, restart, stale_s)
                return cls(run, record, replaced, beat_s)
            except RunHeld as held:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    raise
                if say and not said:
                    say(f"{held}. Waiting for it, {left_s:.0f} s at most")
                said = True
                time.sleep(min(_LOOK_AGAIN_S, left_s))

    def fence(self, attempt: AttemptFolder | None = None) -> Fence:
        """What `attempt`, the one this lease is for, passes before it publishes; None: it has no folder yet."""
        return Fence(self.run, attempt.number if attempt else self.record.attempt - 1, self.token)

    def release(self) -> None:
        """Gives the run back, unless another has taken it over; harmless twice. Raises nothing: a lease that stays
        behind is taken over as a dead one's."""
        self._done.set()
        self._thread.join()
        with suppress(OSError, MachineCannot, RunFailed), _locked(self.run):
            if _is_held_under(self.run, self.token):
                self.run.lease.unlink()
                sync_folder(self.run.root)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def _beat_on(self) -> None:
        while not self._done.wait(self._beat_s):
            # A full disk or a server that does not answer is no reason to give up: the next beat may succeed.
            with suppress(OSError, MachineCannot):
                if not self._beat():
                    self.lost.set()
                    return

    def _beat(self) -> bool:
        with _locked(self.run):
            if not _is_held_under(self.run, self.token):
                return False
            self.record = self.record.model_copy(update={"heartbeat": time.time()})
            self.record.save(self.run.lease)
            return True


@dataclass(frozen=True)
class Fence:
    """What stands between an attempt and all of its run that lies outside the attempt's own folder."""

    run: RunFolder
    attempt: int  # those after it are others'
    token: str  # empty: there is no lease, and everything passes

    def check(self) -> None:
        """Raises Replaced, naming who has taken the run over, when this attempt no longer holds it."""
        if not self.token:
            return
        holder = _read(self.run)
        if holder is None or holder.token != self.token:
            raise Replaced(f"{self.run.lease}: {self._replaced_by(holder)}; this attempt writes nothing more")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Nobody can take the run over until the block is left: for each change of what the run publishes.

        Keep it short, and not one inside another: the heartbeat waits outside. Raises Replaced as `check` does, before
        the block; MachineCannot when somebody else does not give the lock back.
        """
        if not self.token:
            yield
            return
        with _locked(self.run):
            self.check()
            yield

    def _replaced_by(self, holder: LeaseRecord | None) -> str:
        if holder is not None:
            who = f"attempt {holder.attempt} ({_who(holder)}, since {_clock(holder.since)})"
            return f"{who} has taken this run over"
        later = next((attempt for attempt in self.run.attempts() if attempt.number > self.attempt), None)
        if later is None:
            return "this attempt's lease is gone; run the command again"
        with suppress(OSError, RunFailed):
            record = AttemptRecord.load(later.record)
            who = f"process {record.pid} on {record.host}, since {_clock(record.started)}"
            return f"attempt {later.number} ({who}) had taken this run over, and has let go of it"
        return f"attempt {later.number} had taken this run over, and has let go of it"


def holder_of(run: RunFolder) -> LeaseRecord | None:
    """Who holds the run, or held it when it was killed. Raises MachineCannot when `lease.json` is damaged."""
    return _read(run)


def _take(
    run: RunFolder, attempt: int | None, job: str | None, restart: int, stale_s: float
) -> tuple[LeaseRecord, LeaseRecord | None]:
    """This process's record, now in place, and the dead holder's that it replaced, if any. Raises RunHeld."""
    with _locked(run) as lock:
        holder = _read(run)
        own = _own_record(run.next_number() if attempt is None else attempt, job, restart)
        if holder is not None and (why := _holds(run, holder, lock, own, stale_s)) is not None:
            raise RunHeld(why)
        own.save(run.lease)
        return own, holder


def _own_record(attempt: int, job: str | None, restart: int) -> LeaseRecord:
    own = process_stat(os.getpid())
    now = time.time()
    return LeaseRecord(
        attempt=attempt,
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start_ticks=own.start_ticks if own else 0,
        process_space=process_space(),
        job=job,
        restart=restart,
        since=now,
        heartbeat=now,
        # The one random value that no seed decides: two runs of one recipe must not hold the same.
        token=secrets.token_hex(16),
    )


def _read(run: RunFolder) -> LeaseRecord | None:
    try:
        return LeaseRecord.load(run.lease)
    except FileNotFoundError:
        return None
    except RunFailed as error:
        raise MachineCannot(f"{error}, or remove it if no process writes to this run") from None


def _is_held_under(run: RunFolder, token: str) -> bool:
    try:
        return LeaseRecord.load(run.lease).token == token
    except (FileNotFoundError, RunFailed):
        return False


def _holds(run: RunFolder, holder: LeaseRecord, lock: int, own: LeaseRecord, stale_s: float) -> str | None:
    """Why `holder` still holds the run, and what whoever asks for it (`own`) can do; None when it is gone."""
    os.utime(lock)
    age_s = os.fstat(lock).st_mtime - run.lease.stat().st_mtime
    says = f"{run.lease}: attempt {holder.attempt} writes to this run, {_who(holder)}, since {_clock(holder.since)}"
    beat = f"last heartbeat {max(age_s, 0):.0f} s ago"
    if holder.process_space != own.process_space:
        earlier_life = own.job is not None and holder.job == own.job and holder.restart < own.restart
        if earlier_life or age_s > stale_s:
            return None
        return f"{says}, {beat}: wait for it to end; if it is dead, its lease runs out {stale_s:.0f} s after that"
    stat = process_stat(holder.pid)
    if stat is None or not stat.alive or stat.start_ticks != holder.process_start_ticks:
        return None
    if stat.stopped:
        if age_s > stale_s:
            return None
        return f"{says}; it is paused, {beat}: continue it with `kill -CONT {holder.pid}`, or end it"
    return f"{says}, {beat}: wait for it to end, or stop it with `kill {holder.pid}`"


def _who(holder: LeaseRecord) -> str:
    return f"process {holder.pid} on {holder.host}" + (f" (job {holder.job})" if holder.job else "")


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@contextmanager
def _locked(run: RunFolder) -> Iterator[int]:
    """Holds the run's lock. Waits for others, but not for ever for one that is paused in here."""
    handle = os.open(run.lease_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(handle, run)
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, run: RunFolder) -> None:
    until = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise RunHeld(_never_given_back(run)) from None
            time.sleep(0.01)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise MachineCannot(
                    f"{run.lease_lock}: this file system has no locks ({error.strerror}), so two jobs could write one "
                    "run; put the run on another with --run, or have it mounted with flock"
                ) from None
            raise


def _never_given_back(run: RunFolder) -> str:
    says = f"{run.lease_lock}: another process has held this lock for {_LOCK_WAIT_S:.0f} s"
    with suppress(MachineCannot, OSError):
        if (holder := _read(run)) is not None:
            return (
                f"{says}, most likely one of attempt {holder.attempt} ({_who(holder)}), paused while it publishes: "
                "continue its processes (kill -CONT), or end them; nothing was changed"
            )
    return f"{says}; see who with `lsof`"
