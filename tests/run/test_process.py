"""What the kernel says of a process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biodist.run.process import process_space, process_stat

pytestmark = [pytest.mark.timeout(30), pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def test_states_of_a_process_with_an_awkward_name(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep is not None
    odd = tmp_path / "a) T 1 (é"
    shutil.copy(sleep, odd)
    process = subprocess.Popen([str(odd), "600"])
    try:
        before = process_stat(process.pid)
        assert before is not None and before.alive and not before.stopped
        assert before.start_ticks >= process_stat(os.getpid()).start_ticks  # type: ignore[union-attr]
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        stopped = process_stat(process.pid)
        assert stopped is not None and stopped.stopped and stopped.start_ticks == before.start_ticks
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while (stat := process_stat(process.pid)) is not None and stat.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stat is not None and not stat.alive  # ended, not yet collected
    finally:
        process.kill()
        process.wait(20)
    assert process_stat(process.pid) is None


def test_processes_of_one_machine_share_their_space() -> None:
    script = "from biodist.run.process import process_space; print(process_space())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20)
    assert done.stdout.strip() == process_space()
