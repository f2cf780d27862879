"""A worker's life is tied to its launcher's, and no signal is lost or deadly before it listens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from biodist.run.tether import HELD_BACK

pytestmark = pytest.mark.timeout(60)


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A Python process, started as the launcher starts a worker."""
    script = "import os, signal, sys, time\nfrom biodist.run.tether import hear_stop, tether\n" + script
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    try:
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_without_a_launcher_it_runs() -> None:
    assert start("tether(0); print('on')").communicate(timeout=30)[0] == "on\n"


def test_a_launcher_that_is_already_gone_ends_it() -> None:
    process = start("tether(os.getppid() + 1); print('on')")
    assert process.communicate(timeout=30)[0] == "" and process.returncode == -signal.SIGKILL


def test_it_ends_with_its_launcher() -> None:
    """A launcher that is killed, and a worker that ignores everything else."""
    worker = "from biodist.run.tether import tether; import os, time; tether(os.getppid()); print(1, flush=True)"
    launcher = start(
        "import subprocess\n"
        f"subprocess.Popen([sys.executable, '-c', {worker + '; time.sleep(600)'!r}])\n"
        "time.sleep(600)"
    )
    assert launcher.stdout is not None and launcher.stdout.readline() == "1\n"
    launcher.kill()
    # The worker holds the pipe's other end as well: it is closed once both are gone.
    assert launcher.communicate(timeout=30)[0] == ""


def test_stacks_of_all_threads_when_asked() -> None:
    process = start(
        "import threading\n"
        "def waits_in_a_thread(): time.sleep(600)\n"
        "threading.Thread(target=waits_in_a_thread, daemon=True).start()\n"
        "os.kill(os.getpid(), signal.SIGQUIT)\n"  # before it listens: kept for it
        "tether(os.getppid())\n"
        "print('goes on')"
    )
    out, err = process.communicate(timeout=30)
    assert out == "goes on\n" and "waits_in_a_thread" in err and process.returncode == 0


@pytest.mark.parametrize("number", sorted(HELD_BACK - {signal.SIGQUIT}))
def test_a_request_to_stop_is_heard_early_and_late(number: int) -> None:
    process = start(
        "heard = []\n"
        f"os.kill(os.getpid(), {number:d})\n"
        "hear_stop(lambda: heard.append(1))\n"
        f"os.kill(os.getpid(), {number:d})\n"
        "print(len(heard))"
    )
    assert process.communicate(timeout=30)[0] == "2\n"
    assert process.returncode == os.EX_OK
