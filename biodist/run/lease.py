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
* Seen from elsewhere: when its heartbeat is older than `stale_s`.

A holder that was replaced and wakes up finds out at its next beat (`lost`); its workers find out by `check`, which
they call before they publish anything.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from biodist.errors import MachineCannot, RunFailed
from biodist.run.durable import sync_folder
from biodist.run.folder import RunFolder
from biodist.run.process import process_space, process_stat
from biodist.run.records import Record

STALE_S = 60.0
BEAT_S = 5.0
_LOCK_WAIT_S = 15.0


class LeaseRecord(Record):
    """What `lease.json` holds. Times are UNIX seconds by the holder's clock, for people to read."""

    attempt: int
    host: str
    pid: int
    process_start_ticks: int
    process_space: str
    job: str | None  # of the cluster, if it runs in one
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
        stale_s: float = STALE_S,
        beat_s: float = BEAT_S,
    ) -> Lease:
        """Takes the run for `attempt` (the run's next one when not given: make its folder after this).

        Raises MachineCannot when another process holds the run, or the file system cannot lock.
        """
        with _locked(run) as lock:
            holder = _read(run)
            if holder is not None and (why := _holds(run, holder, lock, stale_s)) is not None:
                raise MachineCannot(why)
            record = _own_record(run.next_number() if attempt is None else attempt, job)
            record.save(run.lease)
        return cls(run, record, holder, beat_s)

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


def check(run: RunFolder, token: str) -> None:
    """What a worker calls before it publishes. Raises MachineCannot when its attempt no longer holds the run."""
    holder = _read(run)
    if holder is None:
        raise MachineCannot(f"{run.lease}: this attempt's lease is gone; it writes nothing more. Run the command again")
    if holder.token != token:
        raise MachineCannot(
            f"{run.lease}: attempt {holder.attempt} (process {holder.pid} on {holder.host}) has taken this run over; "
            "this attempt writes nothing more"
        )


def holder_of(run: RunFolder) -> LeaseRecord | None:
    """Who holds the run, or held it when it was killed. Raises MachineCannot when `lease.json` is damaged."""
    return _read(run)


def _own_record(attempt: int, job: str | None) -> LeaseRecord:
    own = process_stat(os.getpid())
    now = time.time()
    return LeaseRecord(
        attempt=attempt,
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start_ticks=own.start_ticks if own else 0,
        process_space=process_space(),
        job=job,
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


def _holds(run: RunFolder, holder: LeaseRecord, lock: int, stale_s: float) -> str | None:
    """Why `holder` still holds the run and what to do about it, or None when it is gone."""
    os.utime(lock)
    age_s = os.fstat(lock).st_mtime - run.lease.stat().st_mtime
    who = f"process {holder.pid} on {holder.host}" + (f" (job {holder.job})" if holder.job else "")
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    says = f"{run.lease}: attempt {holder.attempt} writes to this run, {who}, since {since}"
    beat = f"last heartbeat {max(age_s, 0):.0f} s ago"
    if holder.process_space != process_space():
        if age_s > stale_s:
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


@contextmanager
def _locked(run: RunFolder) -> Iterator[int]:
    """Holds the run's lock, for an instant. Waits for others, but not for one that is paused in here."""
    handle = os.open(run.lease_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(handle, run.lease_lock)
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    until = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise MachineCannot(
                    f"{path}: another process has held this lock for {_LOCK_WAIT_S:.0f} s; see who with `lsof`"
                ) from None
            time.sleep(0.01)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise MachineCannot(
                    f"{path}: this file system has no locks ({error.strerror}), so two jobs could write one run; "
                    "put the run on another with --run, or have it mounted with flock"
                ) from None
            raise
