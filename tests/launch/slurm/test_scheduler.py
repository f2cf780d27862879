"""How Slurm's words are read: outputs recorded on a Slurm 22.05.8, and what happens where there is no Slurm.

sacct needs a database, so its lines are written after its manual. The living Slurm is asked in tests/cluster.
"""

from __future__ import annotations

import signal
import stat
from datetime import datetime
from pathlib import Path

import pytest

from biodist.errors import EXIT_MACHINE, MachineCannot
from launch.slurm.job_state import JobState, read_sacct, read_squeue, seconds
from launch.slurm.partition import NodeKind, read_partitions
from launch.slurm.scheduler import Scheduler

pytestmark = pytest.mark.timeout(60)
RECORDED = Path(__file__).parent / "recorded"


def queued(name: str) -> dict[str, JobState]:
    text = (RECORDED / f"squeue-{name}.txt").read_text()
    return {state.job_id: state for state in read_squeue(text)}


def only(name: str) -> JobState:
    [state] = queued(name).values()
    return state


def test_array_elements_running_and_waiting_jobs() -> None:
    states = queued("mixed")
    assert [(state.job_id, state.state, state.reason) for state in states.values()] == [
        ("11_0", "FAILED", "NonZeroExitCode"),
        ("11_1", "FAILED", "NonZeroExitCode"),
        ("13", "PENDING", "Dependency"),
        ("12", "RUNNING", ""),
    ]
    failed, running, waiting = states["11_0"], states["12"], states["13"]
    assert failed.ended and failed.exit_code == 7 and failed.nodes == "m1" and failed.time_left_s is None
    assert running.holds_nodes and not running.ended and running.exit_code is None
    assert (running.time_left_s, running.time_limit_min, running.restarts) == (595, 10, 0)
    assert waiting.waits and waiting.nodes == "" and waiting.starts is None


def test_when_a_waiting_job_starts() -> None:
    state = only("begin")
    assert state.reason == "BeginTime" and state.starts == datetime.fromisoformat("2026-11-21T14:16:28").timestamp()


def test_cancelled_jobs() -> None:
    states = queued("cancelled")
    assert {state.state for state in states.values()} == {"CANCELLED"} and all(s.ended for s in states.values())
    assert states["12"].exit_code == -15  # SIGTERM; the others never ran


def test_a_job_that_scancel_ends_is_told_from_one_at_its_limit_and_one_that_slurm_starts_again() -> None:
    cancelled = next(state for state in queued("scancelled").values() if state.is_ending)
    limit, preempted = only("time-limit"), only("out-of-grace")
    assert [state.state for state in (cancelled, limit, preempted)] == ["COMPLETING"] * 3
    assert (cancelled.reason, cancelled.restarts) == ("", 0) and cancelled.time_left_s
    assert (limit.reason, limit.restarts, limit.time_left_s) == ("TimeLimit", 0, 0)
    assert (preempted.reason, preempted.restarts) == ("", 1)


def test_a_job_at_its_end_by_the_limit() -> None:
    state = only("timed-out")
    assert state.state == "TIMEOUT" and state.ended and not state.is_ending


def test_a_job_whose_nodes_are_wanted() -> None:
    preempted = next(state for state in queued("preempted").values() if state.partition == "low")
    assert preempted.state == "RUNNING" and preempted.preempted is not None
    other = next(state for state in queued("preempted").values() if state.partition == "high")
    assert other.preempted is None


def test_a_job_that_is_back_in_the_queue() -> None:
    state = only("requeued")
    assert state.waits and state.restarts == 1 and state.time_left_s is None


def test_a_job_slurm_has_forgotten() -> None:
    assert queued("unknown") == {}


def test_accounting() -> None:
    text = (
        "20|COMPLETED|0:0|60|n[1-2]|low|None\n"
        "21_3|CANCELLED by 1000|0:15|60|None assigned|low|None\n"
        "22|OUT_OF_MEMORY|0:125|UNLIMITED|n1|low|OutOfMemory\n"
        "23|RUNNING|0:0||n1|low|None\n"
    )
    done, cancelled, memory, running = read_sacct(text)
    assert (done.state, done.exit_code, done.nodes, done.time_limit_min) == ("COMPLETED", 0, "n[1-2]", 60)
    assert (cancelled.job_id, cancelled.state, cancelled.exit_code, cancelled.nodes) == ("21_3", "CANCELLED", -15, "")
    assert (memory.reason, memory.time_limit_min) == ("OutOfMemory", None)
    assert running.exit_code is None and running.source == "sacct" and running.restarts is None


def test_durations() -> None:
    texts = ("0:07", "1:02:03", "2-00:00:00", "INVALID", "UNLIMITED", "N/A", "", "x-1:00")
    assert [seconds(text) for text in texts] == [7, 3723, 172800, None, None, None, None, None]


def test_partitions() -> None:
    shown, nodes = (RECORDED / "partitions.txt").read_text(), (RECORDED / "nodes.txt").read_text()
    low, norequeue, high = read_partitions(shown, nodes)
    assert (low.name, low.state, low.is_default, low.nodes, low.node_count) == ("low", "UP", True, "m[1-2]", 2)
    assert (low.max_time_min, low.max_nodes, low.grace_s, low.preempt_mode) == (60, None, 30, "REQUEUE")
    assert (norequeue.preempt_mode, high.preempt_mode, high.grace_s) == ("CANCEL", "OFF", 0)
    assert (low.gpus_per_node, low.gpu_types, low.cpus_per_node, low.memory_mb_per_node) == (2, (), 2, 8000)


@pytest.mark.parametrize(
    ("gres", "gpus", "types"),
    [
        ("gpu:a100:8(S:0-1)", 8, ("a100",)),
        ("gpu:h100_80gb:4(S:0,1),nvme:1", 4, ("h100_80gb",)),
        ("gpu:a100:4,gpu:v100:2", 6, ("a100", "v100")),
        ("gpu:2", 2, ()),
        ("", 0, ()),
    ],
)
def test_gpus_of_a_node(gres: str, gpus: int, types: tuple[str, ...]) -> None:
    kind = NodeKind(1, 8, 64000, "idle", (), gres)
    assert (kind.gpus, kind.gpu_types) == (gpus, types)


def test_where_there_is_no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    scheduler = Scheduler()
    assert not scheduler.available()
    for ask in (
        lambda: scheduler.job("1"),
        lambda: scheduler.requeue("1"),
        lambda: scheduler.cancel("1"),
        scheduler.partitions,
    ):
        with pytest.raises(MachineCannot, match=r"no Slurm here \(\w+ is not on PATH\): use a login node") as refused:
            ask()
        assert refused.value.exit_code == EXIT_MACHINE


def test_no_jobs_ask_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Scheduler().jobs([]) == {}


def test_a_slurm_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hangs = tmp_path / "squeue"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(hangs.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MachineCannot, match="Slurm has not answered `squeue` for 1 s: try again"):
        Scheduler(timeout_s=0.6).job("1")


def scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """The only scontrol on PATH is a script that does so."""
    script = folder / "scontrol"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize("does", ["kill -TERM $$; exit 0", "kill -KILL $$"])
def test_a_requeue_that_ends_its_own_command_is_a_requeue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    """Slurm signals all that runs in a job that it sends back. Taken for a refusal, a second job was submitted."""
    scontrol(tmp_path, monkeypatch, does)
    Scheduler().requeue("7")
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_requeue_that_is_refused_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scontrol(tmp_path, monkeypatch, "echo 'Requested operation is not allowed' >&2; exit 1")
    with pytest.raises(MachineCannot, match="does not requeue job 7: Requested operation is not allowed"):
        Scheduler().requeue("7")
