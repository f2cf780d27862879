"""Debian's Slurm and MUNGE, installed where they are missing, without starting services of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from development.configuration import DAEMONS, program
from development.refusal import Refusal

PACKAGES = ("slurm-wlm", "munge")
POLICY = Path("/usr/sbin/policy-rc.d")  # Debian asks it before a package starts or stops a service


def install_missing() -> bool:
    """Installs the packages when a daemon is missing; says whether it did. Raises Refusal where apt-get cannot."""
    missing = [name for name in DAEMONS if not Path(program(name)).exists()]
    if not missing:
        return False
    if not shutil.which("apt-get"):
        raise Refusal(
            f"{', '.join(missing)} not found, and no apt-get to install {' and '.join(PACKAGES)}: install Slurm "
            "22.05 or newer with its Lua submit plugin, and MUNGE"
        )
    with _services_held_back():
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", *PACKAGES)
    return True


@contextlib.contextmanager
def _services_held_back() -> Iterator[None]:
    """Keeps the packages from starting a cluster of their own; a policy that is there already is left in charge."""
    try:
        handle = os.open(POLICY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        yield
        return
    with os.fdopen(handle, "w") as policy:
        policy.write("#!/bin/sh\nexit 101\n")
    try:
        yield
    finally:
        POLICY.unlink()


def _apt(*arguments: str) -> None:
    command = ("apt-get", "-qq", *arguments)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise Refusal(f"`{' '.join(command)}` failed:\n{done.stderr.strip() or done.stdout.strip()}")
