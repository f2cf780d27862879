"""The worker's side of the launcher's bargain. Imports nothing heavy: it is the first thing a worker calls.

A worker is started with the signals below held back, so that none can end it before it listens: SIGQUIT waits for
`tether`, the requests to stop for `hear_stop`. Under a cluster's scheduler those reach workers directly as well.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

STOP = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
"""Signals that ask a worker to stop; the launcher sends SIGUSR1."""

HELD_BACK = STOP | {signal.SIGQUIT}
"""Signals the launcher holds back while it starts a worker."""

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 0.5


def tether(parent: int) -> None:
    """Ties this process's life to its launcher's, however that one ends (SIGKILL too), and answers SIGQUIT with the
    stacks of all threads on standard error.

    `parent` is the launcher's process id, and must be this process's parent; 0: no launcher, nothing to be tied to.
    A launcher that is already gone ends this process at once.
    """
    faulthandler.register(signal.SIGQUIT, all_threads=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGQUIT})
    if parent == 0:
        return
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=_end_with, args=(parent,), name="tether", daemon=True).start()
    # It may have ended before the kernel was told to watch.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)


def hear_stop(note: Callable[[], None]) -> None:
    """From now on a request to stop calls `note`; one that came before calls it now.

    `note` runs inside a signal handler of the main thread: it may set a flag, nothing more. Call from the main thread.
    """
    for number in STOP:
        signal.signal(number, lambda *_: note())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
