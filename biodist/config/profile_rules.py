"""Rules between the keys of a profile. Each yields findings; none raises."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from biodist.config.document import KeyPath
from biodist.config.findings import Finding
from biodist.config.profile import Profile

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|_KEY$")
OPTION = re.compile(r"[a-z][a-z0-9-]+")
PLACEHOLDERS = ("{job}", "{user}")
LARGEST_NODE_GB = 100_000  # memory in MB written as GB is more
LONGEST_DAYS = 365

# Variables that every rank is given, and the key that sets them, if any.
OWN_VARIABLES = {
    "RANK": "",
    "LOCAL_RANK": "",
    "WORLD_SIZE": "",
    "LOCAL_WORLD_SIZE": "",
    "NODE_RANK": "",
    "GROUP_RANK": "",
    "CUDA_VISIBLE_DEVICES": "gpus_per_node",
    "OMP_NUM_THREADS": "cpus_per_process",
    "MKL_NUM_THREADS": "cpus_per_process",
    "GLOO_SOCKET_IFNAME": "network_interface",
    "NCCL_SOCKET_IFNAME": "network_interface",
    "DS_ACCELERATOR": "device",
    "TOKENIZERS_PARALLELISM": "",
    "PYTHONUNBUFFERED": "",
    "PYTHONFAULTHANDLER": "",
    "HF_HUB_DISABLE_TELEMETRY": "",
    "DISABLE_TELEMETRY": "",
    "DO_NOT_TRACK": "",
}
OWN_PREFIXES = ("MASTER_", "SLURM_", "SBATCH_", "SRUN_", "TORCHELASTIC_", "ACCELERATE_", "SUBMITIT_")

# Options of sbatch that follow from a key of the profile.
OPTIONS_OF_KEYS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "nodes": "nodes",
    "gpus": "gpus_per_node",
    "gpus-per-node": "gpus_per_node",
    "gpus-per-task": "gpus_per_node",
    "gres": "gpus_per_node and gpu_type",
    "ntasks": "processes_per_node",
    "ntasks-per-node": "processes_per_node",
    "ntasks-per-gpu": "processes_per_node",
    "cpus-per-task": "cpus_per_process",
    "cpus-per-gpu": "cpus_per_process",
    "mem": "memory_gb",
    "mem-per-cpu": "memory_gb",
    "mem-per-gpu": "memory_gb",
    "time": "time_limit_min",
    "time-min": "time_limit_min",
    "constraint": "constraint",
    "exclude": "exclude",
    "reservation": "reservation",
    "exclusive": "exclusive",
    "signal": "signal_lead_s",
    "requeue": "requeue",
    "no-requeue": "requeue",
}
# Options that biodist sets itself, or that would change what a submission is.
OWN_OPTIONS = frozenset(
    {
        *("array", "chdir", "dependency", "job-name", "wrap", "uid", "gid"),
        *("input", "output", "error", "open-mode", "export", "export-file", "get-user-env"),
        *("wait", "test-only", "parsable", "quiet", "verbose", "help", "usage", "version"),
    }
)


def broken_profile_rules(profile: Profile) -> Iterator[Finding]:
    """Every rule between keys that the profile breaks."""
    return chain(
        _lines(profile),
        _gpus(profile),
        _limits(profile),
        _start(profile),
        _environment(profile),
        _sbatch(profile),
        _ports(profile),
    )


def _lines(profile: Profile) -> Iterator[Finding]:
    # They go into a script, where a line's end would begin a command of its own.
    for path, text in _texts(profile.model_dump(), ()):
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            do = "give each line as an item of its own" if path[0] == "setup" else "remove them"
            yield Finding((path,), "holds line ends or control characters", do)


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, (*path, name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _texts(inner, (*path, number))


def _gpus(profile: Profile) -> Iterator[Finding]:
    gpus: KeyPath = ("gpus_per_node",)
    if profile.device == "cuda" and not profile.gpus_per_node:
        yield Finding((gpus, ("device",)), "is 0, but device is cuda", "give the GPUs of a node, or set device: cpu")
    if profile.gpu_type is not None and not profile.gpus_per_node:
        yield Finding((("gpu_type",), gpus), f"is {profile.gpu_type}, but gpus_per_node is 0", "remove one of the two")
    if profile.trains_on == "cpu":
        return
    if profile.gpus_per_node and profile.gpu_memory_gb is None:
        do = "give the memory of one GPU in GB, or device: cpu where ranks do not use them"
        yield Finding((("gpu_memory_gb",), ("device",), gpus), "is required for training on GPUs", do)
    if profile.gpus_per_node and profile.processes > profile.gpus_per_node:
        what = f"{profile.processes} is more than gpus_per_node ({profile.gpus_per_node}): a rank needs a GPU"
        yield Finding((("processes_per_node",), gpus, ("device",)), what, f"set {profile.gpus_per_node}, or auto")


def _limits(profile: Profile) -> Iterator[Finding]:
    limit: KeyPath = ("time_limit_min",)
    seconds = 60 * profile.time_limit_min
    if profile.signal_lead_s >= seconds:
        what = f"{profile.signal_lead_s} must be below the time limit ({seconds} s), or no step is ever trained"
        yield Finding((("signal_lead_s",), limit), what, "lower it, or raise time_limit_min")
    if profile.time_limit_min > LONGEST_DAYS * 24 * 60:
        what = f"{profile.time_limit_min} minutes are more than {LONGEST_DAYS} days"
        yield Finding((limit,), what, "give minutes: 1440 are a day")
    for name in ("memory_gb", "gpu_memory_gb"):
        size = getattr(profile, name)
        if size is not None and size > LARGEST_NODE_GB:
            yield Finding(((name,),), f"{size:g} GB is more than any node has", "give GB: 512000 MB are 512")


def _start(profile: Profile) -> Iterator[Finding]:
    if profile.python is not None and not profile.python.startswith("/"):
        what = f"must be a path from the root, but is {profile.python}"
        yield Finding((("python",),), what, "as in /shared/venv/bin/python")
    folder: KeyPath = ("scratch_folder",)
    if (scratch := profile.scratch_folder) is None:
        return
    if not scratch.startswith("/"):
        yield Finding((folder,), f"must be a path from the root, but is {scratch}", "as in /tmp/{user}-{job}")
    left = scratch
    for name in PLACEHOLDERS:
        left = left.replace(name, "")
    if "{" in left or "}" in left:
        yield Finding((folder,), f"{scratch} holds braces that nothing replaces", "{job} and {user} are replaced")


def _environment(profile: Profile) -> Iterator[Finding]:
    for name in profile.environment:
        about: tuple[KeyPath, ...] = (("environment", name),)
        if not VARIABLE.fullmatch(name):
            yield Finding(about, f"{name} cannot name a variable", "letters, digits and _, no digit first")
        elif SECRET.search(name):
            do = "export it before you submit: sbatch hands it on"
            yield Finding(about, f"{name} looks like a secret, and a profile is copied into every run's folder", do)
        elif name in OWN_VARIABLES or name.startswith(OWN_PREFIXES):
            key = OWN_VARIABLES.get(name, "")
            yield Finding(
                about, f"{name} is set for every rank", f"remove it: {key} decides it" if key else "remove it"
            )


def _sbatch(profile: Profile) -> Iterator[Finding]:
    for name in profile.sbatch:
        about: tuple[KeyPath, ...] = (("sbatch", name),)
        if name in OPTIONS_OF_KEYS:
            key = OPTIONS_OF_KEYS[name]
            yield Finding(about, f"--{name} follows from {key}", f"remove it here, and set {key}")
        elif name in OWN_OPTIONS:
            yield Finding(about, f"--{name} is biodist's own to set", "remove it")
        elif not OPTION.fullmatch(name):
            close = difflib.get_close_matches(name.strip("-").replace("_", "-").lower(), OPTIONS_OF_KEYS, n=1)
            do = f"--{close[0]} follows from {OPTIONS_OF_KEYS[close[0]]}" if close else "as in mail-type"
            yield Finding(about, f"{name} is not the long name of an option, without its dashes", do)


def _ports(profile: Profile) -> Iterator[Finding]:
    first, last = profile.rendezvous_ports
    if last <= first:
        what = f"the last port ({last}) must be above the first ({first})"
        yield Finding((("rendezvous_ports",),), what, "as in [20000, 32000]")
