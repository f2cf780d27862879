"""What a run was made with: versions, machine, code, data. Holds no text of the user's."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import biodist
from biodist.run.records import Record

LIBRARIES = (
    "torch",
    "transformers",
    "accelerate",
    "deepspeed",
    "tokenizers",
    "datasets",
    "evaluate",
    "seqeval",
    "safetensors",
    "numpy",
    "pyarrow",
    "pydantic",
    "tensorboard",
)
"""Distributions whose version can change what a run computes or how it is stored."""

_GIT_TIMEOUT_S = 5.0


class Commit(Record):
    """The state of the clone that biodist runs from. `dirty`: tracked or new files differ from the commit."""

    commit: str
    dirty: bool


class Provenance(Record):
    """What `provenance.json` holds."""

    time: float  # UNIX seconds
    biodist: str
    commit: Commit | None  # None: not run from a git clone
    python: str
    system: str
    processor: str
    cores: int  # that this process may use
    libraries: dict[str, str]  # distribution -> version; those not installed are left out
    data: dict[str, str]  # what was trained on -> fingerprint


def provenance(data: Mapping[str, str]) -> Provenance:
    """Gathers it, without importing a library. `data` maps names of data (a file's number, a split) to digests."""
    return Provenance(
        time=time.time(),
        biodist=biodist.__version__,
        commit=commit_of(Path(biodist.__file__).resolve().parent.parent),
        python=platform.python_version(),
        system=platform.platform(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        libraries=_versions(),
        data=dict(data),
    )


def commit_of(clone: Path) -> Commit | None:
    """The commit checked out in `clone`, or None when it is not the root of a clone, or git is missing or slow."""
    if not (clone / ".git").exists():
        return None
    commit = _git(clone, "rev-parse", "--verify", "HEAD")
    changes = _git(clone, "status", "--porcelain")
    if commit is None or changes is None:
        return None
    return Commit(commit=commit, dirty=bool(changes))


def _git(clone: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(clone), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
