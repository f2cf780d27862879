"""The local launcher with real processes: outcomes, signals, failures, and nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from biodist.errors import MachineCannot
from biodist.run.folder import AttemptFolder
from biodist.run.records import AttemptRecord
from launch.local import Outcome, first_failure_report, run_attempt, worker_command

pytestmark = pytest.mark.timeout(120)

# Stops as a worker does: a flag, a save, exit code 75.
STOPS = """
stop = []
hear_stop(lambda: stop.append(1))
ready()
while not stop:
    time.sleep(0.01)
print("saved", flush=True)
sys.exit(75)
"""


def test_all_done_and_a_log_for_each_rank(launcher, attempt: AttemptFolder) -> None:
    launch = launcher("print('out', rank, '✓'); print('err', rank, file=sys.stderr); print(repr(sys.stdin.read()))", 3)
    outcome = launch.outcome()
    assert (outcome["exit_code"], outcome["message"], outcome["report"]) == (0, None, "")
    assert outcome["restored"]
    for rank in range(3):
        assert sorted(launch.log(rank).splitlines()) == ["''", f"err {rank}", f"out {rank} ✓"]
    assert not attempt.rendezvous.exists()
    record = AttemptRecord.load(attempt.record)
    assert (record.outcome, record.world_size, record.pid) == ("finished", 3, launch.process.pid)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_signal_stops_every_rank_once(launcher, attempt: AttemptFolder, name: str) -> None:
    launch = launcher(STOPS, 2)
    launch.wait_ready(2)
    launch.send(signal.Signals[name])
    outcome = launch.outcome()
    assert outcome["exit_code"] == 75 and outcome["message"] is None
    assert f"{name}: stopping after this step" in outcome["said"]
    assert launch.log(0) == launch.log(1) == "saved\n"
    assert AttemptRecord.load(attempt.record).outcome == "stopped"


def test_a_signal_before_the_ranks_listen_is_not_lost(launcher) -> None:
    """It comes before any process is started; the ranks are slow to listen, and would die of it unprotected."""
    outcome = launcher("time.sleep(0.7)\n" + STOPS, 2, early="SIGTERM").outcome()
    assert outcome["exit_code"] == 75


def test_more_signals_are_ignored_with_a_line(launcher) -> None:
    toy = """
    heard = []
    hear_stop(lambda: heard.append(1))
    ready()
    while not (attempt / "go").exists():
        time.sleep(0.01)
    print(len(heard))
    sys.exit(75)
    """
    launch = launcher(toy, 1)
    launch.wait_ready(1)
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
        launch.send(number)
        line = launch.process.stderr.readline()
        assert signal.Signals(number).name in line
    assert "already stopping" in line
    (launch.attempt.root / "go").touch()
    assert launch.outcome()["exit_code"] == 75
    assert launch.log(0) == "1\n"


def test_a_second_interrupt_ends_at_once(launcher) -> None:
    toy = """
    hear_stop(lambda: None)
    if rank == 0:
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    ready()
    time.sleep(600)
    """
    launch = launcher(toy, 2)
    launch.wait_ready(2)
    launch.send(signal.SIGINT)
    assert "stopping" in launch.process.stderr.readline()
    launch.send(signal.SIGINT)
    outcome = launch.outcome()
    assert (outcome["exit_code"], outcome["message"]) == (130, None)
    assert launch.living() == []


def test_a_killed_rank_is_named_before_those_that_lost_it(launcher, attempt: AttemptFolder) -> None:
    toy = """
    ready(3)
    if rank == 1:
        (attempt / "last words").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    while not (attempt / "last words").exists():
        time.sleep(0.01)
    fail("connection", "Connection closed by peer", step=4)
    """
    outcome = launcher(toy, 3).outcome()
    assert (outcome["exit_code"], outcome["rank"], outcome["kind"]) == (3, 1, "killed")
    assert "SIGKILL" in outcome["message"] and "out of memory" in outcome["message"]
    record = AttemptRecord.load(attempt.record)
    assert record.outcome == "failed" and record.failure is not None and record.failure.rank == 1


def test_a_crash_is_named_with_its_signal_and_stack(launcher) -> None:
    toy = """
    import faulthandler
    ready(2)
    if rank == 0:
        time.sleep(600)
    faulthandler._sigsegv()
    """
    outcome = launcher(toy, 2).outcome()
    assert (outcome["rank"], outcome["kind"]) == (1, "signal")
    assert "SIGSEGV" in outcome["message"] and "Fatal Python error: Segmentation fault" in outcome["report"]


def test_an_exception_is_named_before_the_connection_errors_it_caused(launcher) -> None:
    """Rank 0's connection error is written first, by its clock."""
    toy = """
    for line in range(30):
        print(f"line {line}", flush=True)
    ready(2)
    if rank == 0:
        fail("connection", "Connection closed by peer")
    while not (attempt / "failure-rank-0.json").exists():
        time.sleep(0.01)
    fail("error", "loss is not a number", step=12)
    """
    launch = launcher(toy, 2)
    outcome = launch.outcome()
    assert (outcome["exit_code"], outcome["rank"]) == (3, 1)
    report = outcome["report"].splitlines()
    assert report[0] == "rank 1 failed first at step 12: loss is not a number"
    assert report[2:-1] == [f"  | line {line}" for line in range(10, 30)]
    assert report[-1] == f"its log: {launch.attempt.log(1)}"


@pytest.mark.parametrize(("code", "expected"), [(2, 2), (4, 4), (1, 3), (3, 3), (130, 3)])
def test_a_workers_word_on_input_and_machine_passes_through(launcher, code: int, expected: int) -> None:
    outcome = launcher(f"sys.exit({code})", 1).outcome()
    assert outcome["exit_code"] == expected and f"exit code {code}" in outcome["message"]


def test_ranks_that_go_on_after_a_failure_leave_their_stacks(launcher) -> None:
    toy = """
    ready(2)
    if rank == 1:
        fail("error", "no room")
    def waits_for_the_other():
        time.sleep(600)
    waits_for_the_other()
    """
    launch = launcher(toy, 2)
    outcome = launch.outcome()
    assert (outcome["rank"], outcome["message"]) == (1, "no room")
    assert "waits_for_the_other" in launch.log(0)
    assert launch.living() == []


def test_a_rank_that_dies_of_being_asked_for_its_stacks_is_not_to_blame(launcher) -> None:
    toy = """
    import faulthandler
    faulthandler.unregister(signal.SIGQUIT)
    ready(2)
    if rank == 0:
        time.sleep(600)
    fail("connection", "Connection reset by peer")
    """
    outcome = launcher(toy, 2).outcome()
    assert (outcome["rank"], outcome["kind"]) == (1, "connection")


def test_a_failure_that_cannot_end_is_noticed(launcher) -> None:
    toy = """
    ready(2)
    if rank == 0:
        time.sleep(600)
    try:
        fail("error", "broken")
    finally:
        time.sleep(600)
    """
    outcome = launcher(toy, 2).outcome()
    assert (outcome["exit_code"], outcome["rank"], outcome["message"]) == (3, 1, "broken")


def test_a_hang_names_the_rank_that_was_stopped(launcher) -> None:
    toy = """
    if rank == 2:
        (attempt / "pid").write_text(str(os.getpid()))
    ready(3)
    if rank == 2:
        os.kill(os.getpid(), signal.SIGSTOP)
    if rank == 1:
        time.sleep(600)
    stat = Path("/proc", (attempt / "pid").read_text(), "stat")
    while stat.read_text().split()[2] != "T":
        time.sleep(0.01)
    fail("hang", "no progress for 5 s", step=3)
    """
    launch = launcher(toy, 3)
    outcome = launch.outcome()
    assert (outcome["exit_code"], outcome["rank"], outcome["kind"]) == (3, 2, "paused")
    assert "SIGSTOP" in outcome["message"]
    assert 'File "' in launch.log(1)  # the stack of a rank that only waited
    assert launch.living() == []


def test_a_hang_with_nobody_stopped_names_who_noticed(launcher) -> None:
    outcome = launcher("ready(2)\nif rank == 0:\n    time.sleep(600)\nfail('hang', 'no progress', step=3)", 2).outcome()
    assert (outcome["exit_code"], outcome["rank"], outcome["message"]) == (3, 1, "no progress")


def test_ranks_that_disagree_have_failed(launcher) -> None:
    outcome = launcher("sys.exit(75 if rank == 1 else 0)", 2).outcome()
    assert outcome["exit_code"] == 3 and "rank 0: 0, rank 1: 75" in outcome["message"]


def test_workers_die_with_a_killed_launcher(launcher) -> None:
    toy = """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ready()
    time.sleep(600)
    """
    launch = launcher(toy, 3)
    launch.wait_ready(3)
    assert len(launch.living()) == 3
    launch.send(signal.SIGKILL)
    launch.process.wait(30)
    launch.wait_gone()


def test_what_a_rank_started_ends_with_it(launcher) -> None:
    """A loader's process that outlived its rank is in the rank's group, and ends with the attempt."""
    toy = """
    import subprocess
    marker = sys.argv[4]
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", marker])
    """
    launch = launcher(toy, 2)
    assert launch.outcome()["exit_code"] == 0
    launch.wait_gone()


def test_the_environment_of_a_rank(launcher) -> None:
    toy = """
    for name, value in os.environ.items():
        print(name, value, sep="=")
    """
    outer = {"RANK": "7", "MASTER_ADDR": "x", "SLURM_PROCID": "3", "SLURM_JOB_ID": "12", "CUDA_VISIBLE_DEVICES": "1"}
    launch = launcher(toy, 1, environment={**os.environ, **outer, "ACCELERATE_USE_CPU": "true"})
    assert launch.outcome()["exit_code"] == 0
    seen = dict(line.partition("=")[::2] for line in launch.log(0).splitlines())
    assert not {"RANK", "MASTER_ADDR", "SLURM_PROCID", "ACCELERATE_USE_CPU"} & set(seen)
    wanted = {
        **{"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"},
        **{"HF_HUB_DISABLE_TELEMETRY": "1", "SLURM_JOB_ID": "12", "CUDA_VISIBLE_DEVICES": "1"},
    }
    assert {name: seen.get(name) for name in wanted} == wanted


def test_a_rank_that_cannot_start_is_named_and_the_others_ended(
    attempt: AttemptFolder, plan, living, tmp_path: Path
) -> None:
    marker = str(tmp_path / "marker")

    def worker(rank: int) -> list[str]:
        if rank == 1:
            return [str(tmp_path / "absent")]
        return [sys.executable, "-c", "import time; time.sleep(600)", marker]

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(MachineCannot, match=r"rank 1 could not be started: No such file.*absent"):
        run_attempt(attempt, plan(2), "t", worker=worker)
    assert signal.getsignal(signal.SIGTERM) == before
    assert living(marker) == []
    assert AttemptRecord.load(attempt.record).outcome == "failed"


def test_a_watch_that_raises_ends_the_ranks(attempt: AttemptFolder, plan, living, tmp_path: Path) -> None:
    marker = str(tmp_path / "marker")

    def worker(rank: int) -> list[str]:
        return [sys.executable, "-c", "import time; time.sleep(600)", marker]

    def watch() -> None:
        raise MachineCannot("taken over")

    with pytest.raises(MachineCannot, match="taken over"):
        run_attempt(attempt, plan(2), "t", worker=worker, watch=watch)
    assert living(marker) == []
    assert AttemptRecord.load(attempt.record).outcome == "failed"


def test_the_steps_made_are_on_record(attempt: AttemptFolder, plan) -> None:
    script = (
        "import json, sys; file = open(sys.argv[1], 'w')\n"
        "for event in [{'kind': 'resumed', 'step': 4}, {'kind': 'step', 'step': 5}, {'kind': 'step', 'step': 6}]:\n"
        "    file.write(json.dumps(event) + '\\n')\n"
        'file.write(\'{"kind": "st\')\n'
    )
    outcome = run_attempt(
        attempt, plan(1), "t", worker=lambda rank: [sys.executable, "-c", script, str(attempt.events(0))]
    )
    assert outcome == Outcome(0, None, outcome.duration_s)
    record = AttemptRecord.load(attempt.record)
    assert (record.resumed_step, record.first_step, record.last_step) == (4, 5, 6)
    assert record.ended is not None and record.ended >= record.started


def test_the_command_line_of_a_worker(attempt: AttemptFolder, plan) -> None:
    assert worker_command(attempt, plan(2), 1, "file:///x", "tok") == [
        *(sys.executable, "-P", "-m", "biodist.training.worker", "--attempt", str(attempt.root), "--rank", "1"),
        *("--local-rank", "1", "--world-size", "2", "--rendezvous", "file:///x", "--lease", "tok"),
        *("--parent", str(os.getpid())),
    ]


def test_no_failure_no_report() -> None:
    assert first_failure_report(Outcome(0, None, 1.0)) == ""
