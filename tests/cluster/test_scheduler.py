"""The scheduler on a living Slurm, and `biodist status`, `logs` and `cancel` of a job there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from biodist.errors import MachineCannot
from launch.slurm.job_state import JobState
from launch.slurm.scheduler import Scheduler

from .conftest import Cluster
from .submitted import Submitted, ground, submitted

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
__all__ = ["ground", "submitted"]

STUBBORN = "trap '' TERM USR2\nwhile [ ! -e stop-$SLURM_JOB_ID ]; do sleep 0.2; done"
SMALL = ("--partition=low", "--nodes=1", "--mem=100")


def await_state(cluster: Cluster, job: str, state: str) -> JobState:
    cluster.wait_until(
        lambda: (found := Scheduler().job(job)) is not None and found.state == state,
        lambda: f"job {job} did not become {state}: {Scheduler().job(job)}",
    )
    found = Scheduler().job(job)
    assert found is not None
    return found


def test_the_states_of_a_job(cluster: Cluster) -> None:
    first = cluster.submit(STUBBORN, *SMALL)
    second = cluster.submit("true", *SMALL, f"--dependency=afterany:{first}")
    running = await_state(cluster, first, "RUNNING")
    assert re.fullmatch(r"n\d", running.nodes) and running.partition == "low" and running.restarts == 0
    assert running.time_limit_min == 10 and 0 < (running.time_left_s or 0) <= 600 and running.exit_code is None
    both = Scheduler().jobs([second, "99999999", first])
    assert list(both) == [second, first], "those that Slurm knows, in the order asked for"
    assert both[second].waits and both[second].reason == "Dependency"
    Scheduler().cancel(first)
    ending = await_state(cluster, first, "COMPLETING")
    assert ending.is_ending and not ending.ended and ending.time_left_s
    (cluster.folder / f"stop-{first}").touch()
    assert await_state(cluster, first, "CANCELLED").ended
    Scheduler().cancel(first)  # fine twice


@pytest.mark.slurm
def test_nodes_answer_until_one_is_lost(cluster: Cluster) -> None:
    job = cluster.submit(STUBBORN, "--partition=low", "--nodes=2", "--mem=100", "--exclusive")
    await_state(cluster, job, "RUNNING")
    assert Scheduler().nodes_answer(job, 2)
    cluster.kill_node(await_state(cluster, job, "RUNNING").nodes.strip("n[]").split("-")[-1].rjust(2, "n"))
    assert not Scheduler().nodes_answer(job, 2)


def test_the_elements_of_an_array(cluster: Cluster) -> None:
    array = cluster.submit("exit $SLURM_ARRAY_TASK_ID", *SMALL, "--array=0,3")
    cluster.wait_until(
        lambda: all(state.ended for state in Scheduler().jobs([f"{array}_0", f"{array}_3"]).values()),
        lambda: cluster.slurm("squeue", "--all"),
    )
    states = Scheduler().jobs([f"{array}_0", f"{array}_3"])
    assert [(state.state, state.exit_code) for state in states.values()] == [("COMPLETED", 0), ("FAILED", 3)]


@pytest.mark.slurm(user_signal="either")
def test_a_job_sends_itself_back(cluster: Cluster) -> None:
    program = "import sys; from launch.slurm.scheduler import Scheduler; Scheduler().requeue(sys.argv[1])"
    python = f"PYTHONPATH={Path(__file__).parents[2]} {sys.executable} -c '{program}' $SLURM_JOB_ID"
    once = f'[ -n "$SLURM_RESTART_COUNT" ] && exit 0\n{python}\nsleep 60'
    job = cluster.submit(once, *SMALL)
    done = await_state(cluster, job, "COMPLETED")
    assert (done.restarts, done.exit_code) == (1, 0)


def test_a_signal_reaches_the_tasks(cluster: Cluster) -> None:
    job = cluster.submit("srun bash -c 'trap \"exit 9\" USR2; echo ready; while :; do sleep 0.1; done'", *SMALL)
    cluster.wait_until(lambda: "ready" in cluster.output(job), lambda: cluster.output(job))
    Scheduler().signal(job, signal.SIGUSR2)
    assert await_state(cluster, job, "FAILED").exit_code == 9


def test_slurm_refuses_in_its_own_words(cluster: Cluster) -> None:
    with pytest.raises(MachineCannot, match=r"does not requeue job 99999999: .*Invalid job id"):
        Scheduler().requeue("99999999")


def test_partitions(cluster: Cluster) -> None:
    low = Scheduler().partition("low")
    assert low is not None and Scheduler().partition() == low, "it is the default one"
    assert (low.max_time_min, low.grace_s, low.preempt_mode, low.node_count) == (60, 30, "REQUEUE", 4)
    assert (low.gpus_per_node, low.state) == (2, "UP") and sum(kind.count for kind in low.kinds) == 4
    assert Scheduler().partition("nope") is None
    assert {found.name for found in Scheduler().partitions()} == {"low", "high", "norequeue"}


def test_the_users_habits_change_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    job = cluster.submit(STUBBORN, *SMALL, "--begin=now+1hour")
    plain = Scheduler().job(job)
    for name, value in {
        **{"SQUEUE_FORMAT": "%i", "SQUEUE_FORMAT2": "jobid", "SQUEUE_STATES": "RUNNING", "SLURM_TIME_FORMAT": "%s"},
        **{"SQUEUE_PARTITION": "high", "SINFO_FORMAT": "%N", "SQUEUE_USERS": "nobody"},
    }.items():
        monkeypatch.setenv(name, value)
    assert plain is not None and plain.starts is not None and Scheduler().job(job) == plain
    assert Scheduler().partition("low") is not None


def test_a_controller_that_is_away(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    configuration = (cluster.root / "slurm.conf").read_text()
    away = tmp_path / "slurm.conf"
    away.write_text(re.sub(r"(?m)^SlurmctldPort=.*$", "SlurmctldPort=9", configuration))
    monkeypatch.setenv("SLURM_CONF", str(away))
    with pytest.raises(MachineCannot, match=r"Slurm does not say how job 1 stands: .*[Uu]nable to contact slurm"):
        Scheduler().job("1")


def test_status_logs_and_cancel(submitted: Submitted) -> None:
    held = submitted.trap("step", call=3)
    job = submitted.submit()
    root = str(submitted.run.root)
    following = subprocess.Popen(
        [sys.executable, "-m", "biodist.cli", "logs", root, "--follow"], stdout=subprocess.PIPE, text=True
    )
    submitted.wait_held(held)
    standing = json.loads(submitted.biodist("status", root, "--json").stdout)
    assert (standing["state"], standing["job"], standing["job_state"]) == ("running", job, "RUNNING")
    assert (standing["nodes"], standing["attempts"], standing["preemptions"]) == ("n[1-2]", 1, 0)
    assert 0 < standing["job_seconds_left"] <= 3600 and standing["step"] == 2
    held.let_go()
    done = submitted.biodist("cancel", root)
    assert done.returncode == 0 and f"job {job}: asked to save and stop" in done.stderr, done.stderr
    saved = submitted.attempts()[-1].last_step
    assert done.stdout.splitlines()[0] == f"{root}: ended; saved at step {saved}"
    assert submitted.outcomes() == ["stopped"] and submitted.attempts()[0].stopped_by == "SIGUSR2"
    said, _ = following.communicate(timeout=60)
    assert following.returncode == 75 and "[job] " in said and "it does not come back" in said
    time.sleep(6)  # as long as a job on this cluster waits before it comes back
    state = Scheduler().job(job)
    assert state is not None and state.ended, state
    assert "cancelled" in submitted.biodist("status", root).stdout
    again = submitted.biodist("cancel", root)
    assert again.returncode == 0 and "had ended already (cancelled)" in again.stdout
    submitted.resume("--on", "devcluster", "--nodes", "2")
    submitted.wait_finished()
    submitted.check_equal()


def test_cancelled_before_it_began(submitted: Submitted) -> None:
    hog = submitted.cluster.hog()
    job = submitted.submit()
    root = str(submitted.run.root)
    assert json.loads(submitted.biodist("status", root, "--json").stdout)["state"] == "waiting"
    done = submitted.biodist("cancel", root)
    assert done.returncode == 0 and f"job {job} was waiting" in done.stderr, done.stderr
    assert done.stdout.splitlines()[0] == f"{root}: ended; nothing is saved"
    submitted.cluster.cancel(hog)
    assert submitted.attempts() == [] and "cancelled" in submitted.biodist("status", root).stdout


def test_cancelled_at_once(submitted: Submitted) -> None:
    """Nobody saves: a rank stands in the trap, and `--now` does not wait for it."""
    held = submitted.trap("step", call=8)
    job = submitted.submit()
    submitted.wait_held(held)
    done = submitted.biodist("cancel", str(submitted.run.root), "--now")
    assert done.returncode == 0 and "asked to save" not in done.stderr and f"job {job}: scancel" in done.stderr
    assert done.stdout.splitlines()[0].endswith("ended; saved at step 5"), "what was saved before"
    state = Scheduler().job(job)
    assert state is not None and state.state == "CANCELLED" and state.restarts == 0
