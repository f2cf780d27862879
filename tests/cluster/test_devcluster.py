"""What `slurm/devcluster` promises: jobs are placed, preempted, lost and requeued as on a cluster."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import NODES, Cluster, devcluster

pytestmark = pytest.mark.slurm

SECOND_PORT = "27017"
RANKS = ("--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2", "--partition=low")

# Every rank notes the signals it hears, by name, and goes on.
LISTEN = """
srun bash -c '
  for name in TERM USR2; do trap "echo $name >> heard-$SLURM_JOB_ID-$SLURM_PROCID" $name; done
  touch ready-$SLURM_JOB_ID-$SLURM_PROCID
  until [ -e stop-$SLURM_JOB_ID ]; do sleep 0.1; done'
"""
# Its second life says so and ends; in the first one every rank ends at SIGTERM, as if it had saved.
SAVE = """
if [ -n "$SLURM_RESTART_COUNT" ]; then echo "life $SLURM_RESTART_COUNT on $SLURM_JOB_NODELIST"; exit 0; fi
srun bash -c '
  trap "echo saved; exit 75" TERM
  touch ready-$SLURM_JOB_ID-$SLURM_PROCID
  until [ -e stop-$SLURM_JOB_ID ]; do sleep 0.1; done'
"""


def wait_for_ranks(cluster: Cluster, job: str, ranks: int = 4) -> None:
    cluster.wait_until(
        lambda: len(list(cluster.folder.glob(f"ready-{job}-*"))) == ranks,
        lambda: f"not every rank of job {job} started: {cluster.job(job)}\n{cluster.output(job)}",
    )


def asked(*command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs one of Slurm's commands that may be refused."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def commands() -> list[str]:
    """The command lines of all living processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace").replace("\0", " ").strip())
    return found


def heard(cluster: Cluster, job: str) -> dict[int, list[str]]:
    """The signals heard so far, by rank."""
    found = {int(path.name.rpartition("-")[2]): path for path in cluster.folder.glob(f"heard-{job}-*")}
    return {rank: found[rank].read_text().split() for rank in sorted(found)}


@pytest.mark.slurm(user_signal="either")
def test_four_nodes_wait_for_jobs(cluster: Cluster) -> None:
    status = cluster.status()
    assert status["nodes"] == dict.fromkeys(NODES, "idle")
    assert [row["partition"] for row in status["partitions"]] == ["low", "norequeue", "high"]
    for line in cluster.slurm("scontrol", "show", "node", "-o").splitlines():
        assert "Gres=gpu:2" in line and "CPUTot=2" in line


def test_ranks_are_spread_over_nodes_and_see_their_gpus(cluster: Cluster) -> None:
    said = "echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES $SLURM_NTASKS"
    job = cluster.submit(f"srun bash -c '{said}'", *RANKS)
    cluster.wait_for_state(job, "COMPLETED")
    ranks = sorted(line.split() for line in cluster.output(job).splitlines())
    assert [rank[:3] for rank in ranks] == [["0", "0", "0"], ["1", "1", "0"], ["2", "0", "1"], ["3", "1", "1"]]
    assert [rank[4:] for rank in ranks] == [["0,1", "4"]] * 4
    first, second = ranks[0][3], ranks[2][3]
    assert first != second and {first, second} <= set(NODES)


@pytest.mark.slurm(user_signal="either")
def test_preemption_tells_every_rank_by_the_signal_the_cluster_sends(cluster: Cluster) -> None:
    job = cluster.submit(LISTEN, *RANKS, "--signal=USR2@60")
    wait_for_ranks(cluster, job)
    hog = cluster.hog()
    expected = "USR2" if cluster.user_signal else "TERM"
    cluster.wait_until(
        lambda: [names[0] for names in heard(cluster, job).values()] == [expected] * 4,
        lambda: f"ranks heard {heard(cluster, job)}",
        20,  # well inside the grace time of 30 s
    )
    assert cluster.job_state(job) == "RUNNING"
    assert cluster.job_state(hog) == "PENDING"


def test_a_job_still_there_after_its_grace_is_killed_and_requeued(cluster: Cluster) -> None:
    job = cluster.submit(LISTEN, *RANKS)
    wait_for_ranks(cluster, job)
    with cluster.grace(3):
        hog = cluster.hog()
        cluster.wait_for_state(hog, "RUNNING")
    cluster.wait_for_state(job, "PENDING")
    assert cluster.job(job)["Restarts"] == "1"
    cluster.cancel(hog)
    for flag in cluster.folder.glob(f"ready-{job}-*"):
        flag.unlink()
    wait_for_ranks(cluster, job)
    assert cluster.job_state(job) == "RUNNING"


def test_a_job_that_saved_inside_its_grace_requeues_itself(cluster: Cluster) -> None:
    job = cluster.submit(SAVE + "scontrol requeue $SLURM_JOB_ID", *RANKS)
    wait_for_ranks(cluster, job)
    hog = cluster.hog()
    cluster.wait_for_state(job, "PENDING")
    assert cluster.output(job).split().count("saved") == 4
    cluster.wait_for_state(hog, "RUNNING")
    cluster.cancel(hog)
    cluster.wait_for_state(job, "COMPLETED")
    assert "\nlife 1 on n" in cluster.output(job)


def test_slurm_does_not_requeue_a_job_that_ends_inside_its_grace(cluster: Cluster) -> None:
    job = cluster.submit(SAVE, *RANKS)
    wait_for_ranks(cluster, job)
    cluster.hog()
    cluster.wait_for_state(job, "FAILED")
    assert cluster.job(job)["ExitCode"] == "75:0"
    assert cluster.job(job)["Restarts"] == "0"


def test_the_job_of_a_lost_node_is_requeued_elsewhere(cluster: Cluster) -> None:
    job = cluster.submit(LISTEN, "--partition=low", "--nodes=1", "--ntasks=1")
    wait_for_ranks(cluster, job, 1)
    lost = cluster.job(job)["NodeList"]
    cluster.kill_node(lost)
    assert not [row for row in cluster.status()["processes"] if row["node"] == lost]
    (cluster.folder / f"ready-{job}-0").unlink()
    wait_for_ranks(cluster, job, 1)
    assert cluster.job(job)["Restarts"] == "1"
    assert cluster.job(job)["NodeList"] != lost
    assert cluster.status()["nodes"][lost].startswith("down")
    cluster.start_node(lost)
    assert cluster.status()["nodes"][lost] == "idle"


def test_a_process_that_outlives_its_job_is_seen_and_goes_with_its_node(cluster: Cluster) -> None:
    job = cluster.submit("(setsid sleep 303 < /dev/null > /dev/null 2>&1 &)", "--partition=low", "--nodes=1")
    cluster.wait_for_state(job, "COMPLETED")
    node = cluster.job(job)["NodeList"]
    assert [(row["node"], row["name"]) for row in cluster.status()["processes"]] == [(node, "sleep")]
    with pytest.raises(pytest.fail.Exception, match="outlived every job"):
        cluster.check_no_process(3)
    cluster.kill_node(node)
    assert not cluster.status()["processes"]


def test_norequeue_refuses_a_requeue_whatever_the_job_asks(cluster: Cluster) -> None:
    job = cluster.submit(LISTEN, "--partition=norequeue", "--requeue", "--nodes=2", "--ntasks-per-node=2")
    wait_for_ranks(cluster, job)
    cluster.slurm("scontrol", "update", f"JobId={job}", "Requeue=1")
    assert cluster.job(job)["Requeue"] == "0"
    answer = asked("scontrol", "requeue", job)
    assert answer.returncode == 1 and "disabled" in answer.stderr
    assert cluster.job_state(job) == "RUNNING"
    with cluster.grace(3, "norequeue"):
        cluster.wait_for_state(cluster.hog(), "RUNNING")
    assert cluster.job_state(job) in ("PREEMPTED", "CANCELLED")
    assert cluster.job(job)["Restarts"] == "0"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--time=2:00:00", "time limit is invalid"),
        ("--partition=none", "invalid partition"),
        ("--gpus-per-node=3", "configuration is not available"),
        ("--nodes=5", "Node count"),
        ("--mem=64G", "Memory specification"),
    ],
)
def test_sbatch_refuses_what_no_node_can_give(cluster: Cluster, option: str, words: str) -> None:
    answer = asked("sbatch", option, "--wrap=true")
    assert answer.returncode == 1 and words in answer.stderr
    assert not cluster.status()["jobs"]


@pytest.fixture
def second_root() -> Iterator[Path]:
    """A state folder of its own: with another port, a second cluster. Short, as its sockets need; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="devcluster-") as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "state"
        yield root
        devcluster(root, "down")


def test_ports_of_a_living_cluster_are_not_taken(cluster: Cluster, second_root: Path) -> None:
    listening = cluster.slurm("scontrol", "show", "config").partition("SlurmctldPort")[2].split()[1]
    refused = devcluster(second_root, "up", "--port", listening)
    assert refused.code == 4 and f"no free port {listening}" in refused.errors
    assert not second_root.exists()


def test_down_ends_what_up_and_its_jobs_started_and_nothing_else(second_root: Path) -> None:
    made = devcluster(second_root, "up", "--port", SECOND_PORT)
    assert made.code == 0, made.errors
    environment = {**os.environ, "SLURM_CONF": str(second_root / "slurm.conf")}
    strays = {"sleep 301", "sleep 302"}
    bystander = subprocess.Popen(["sleep", "300"], env=environment)  # as a shell that has the `env` lines
    try:
        # One task leaves its session and its parent; another forgets its environment.
        script = "srun bash -c '(setsid sleep 301 &); env -i sleep 302'"
        options = ("--nodes=2", "--ntasks=2", "--output=/dev/null", f"--chdir={second_root.parent}")
        submitted = asked("sbatch", *options, f"--wrap={script}", environment=environment)
        assert submitted.returncode == 0, submitted.stderr
        deadline = time.monotonic() + 60
        while not strays <= set(commands()):
            assert time.monotonic() < deadline, commands()
            time.sleep(0.2)
        again = devcluster(second_root, "up")
        assert (again.code, again.output) == (0, f"already up: {second_root}\n")
        other = devcluster(second_root, "up", "--user-signal")
        assert other.code == 4 and f"run `slurm/devcluster down --root {second_root}` first" in other.errors

        down = devcluster(second_root, "down")
        assert down.code == 0, down.errors
        assert not second_root.exists()
        assert not [line for line in commands() if str(second_root) in line]
        assert not strays & set(commands())
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert devcluster(second_root, "down").output == "not up\n"
    status = devcluster(second_root, "status", "--json")
    assert status.code == 4 and f"run `slurm/devcluster up --root {second_root}`" in status.errors
