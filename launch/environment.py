"""The environment of a worker on this machine: a copy of the launcher's, with what would mislead it taken out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from biodist.plan.plan import MachinePlan

# What torchrun, Accelerate's launcher, MPI or srun told this process about a job that is not the workers'.
_OUTER_NAMES = frozenset(
    {
        "RANK",
        "LOCAL_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "GROUP_RANK",
        "GROUP_WORLD_SIZE",
        "NODE_RANK",
        "ROLE_RANK",
        "ROLE_WORLD_SIZE",
        "ROLE_NAME",
        "SLURM_GTIDS",
        "SLURM_LAUNCH_NODE_IPADDR",
        "SLURM_LOCALID",
        "SLURM_NODEID",
        "SLURM_NPROCS",
        "SLURM_NTASKS",
        "SLURM_NTASKS_PER_NODE",
        "SLURM_PROCID",
        "SLURM_TASKS_PER_NODE",
        "SLURM_TASK_PID",
    }
)
_OUTER_PREFIXES = ("MASTER_", "TORCHELASTIC_", "ACCELERATE_", "OMPI_", "PMI_", "PMIX_", "SLURM_STEP_", "SLURM_SRUN_")


def worker_environment(outer: Mapping[str, str], machine: MachinePlan, interface: str | None = None) -> dict[str, str]:
    """Variables for every rank of one machine: threads, network, no telemetry, nothing of an outer job.

    `interface` is the network between nodes; the loopback one when not given.

    ``CUDA_VISIBLE_DEVICES`` stays as it is: a rank takes its GPU by its local rank.
    """
    kept = {name: value for name, value in outer.items() if not _is_of_outer_job(name)}
    interface = interface or ("lo0" if sys.platform == "darwin" else "lo")
    own = {
        "OMP_NUM_THREADS": str(machine.threads_per_process),
        "MKL_NUM_THREADS": str(machine.threads_per_process),
        "GLOO_SOCKET_IFNAME": interface,
        "NCCL_SOCKET_IFNAME": interface,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    # ninja, which DeepSpeed compiles with, lies beside the interpreter; nobody need have activated the environment.
    own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    if machine.device == "cpu":
        own["DS_ACCELERATOR"] = "cpu"
    return kept | own


def _is_of_outer_job(name: str) -> bool:
    return name in _OUTER_NAMES or name.startswith(_OUTER_PREFIXES)
