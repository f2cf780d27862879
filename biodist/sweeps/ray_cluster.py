"""Trials on a Ray cluster that is there already: each in a placement group of its own, by an actor with its name.

Actor and group are detached: they outlive the driver, and the next one finds them by the trial's key.
"""

from __future__ import annotations

import hashlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from biodist.errors import MachineCannot
from biodist.run.sweep_folder import SweepFolder
from biodist.sweeps.backend import Launch, Note, Refused
from biodist.sweeps.ledger import Started

_LOOK_EVERY_S = 1.0
_KILLED_AFTER_S = 120.0  # after it was asked to save and stop
_CONNECT_S = 10.0
_ANSWER_S = 0.5  # for all actors together; one that does not answer waits for its resources, or works


class TrialActor:
    """Runs `biodist train` on a node of the cluster; an actor's methods come one after another."""

    def __init__(self, words: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
        import os

        tethered = [sys.executable, "-P", "-m", "biodist.sweeps.tethered", str(os.getpid())]
        python = [sys.executable, "-P", "-m", "biodist.cli"]
        with Path(log).open("ab") as file:
            self._process = subprocess.Popen(
                [*tethered, *python, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    def lives(self) -> bool:
        """Whether its process has not ended."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Sends its process a signal, while it lives."""
        if self._process.poll() is None:
            self._process.send_signal(number)


@dataclass
class RayBackend:
    """Starts, finds again and ends the actors of trials. Raises MachineCannot when the cluster is not there."""

    folder: SweepFolder
    address: str
    options: tuple[str, ...]  # of `biodist train`: --nproc, --device
    nproc: int
    cpus: int  # of a trial
    gpus: float
    slots: int
    environment: Mapping[str, str] = field(default_factory=dict)
    look_every_s: float = _LOOK_EVERY_S
    ends_with_driver: bool = False
    _actors: dict[str, Any] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)
    _pending: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        connect(self.address, self.namespace)
        self._refuse_small_nodes()

    @property
    def namespace(self) -> str:
        """Of this sweep's actors: no other sweep on the cluster has it, however its folder is called."""
        return f"biodist-{hashlib.sha256(str(self.folder.root.resolve()).encode()).hexdigest()[:16]}"

    def adopt(self, started: Mapping[str, Started | None]) -> set[str]:
        import ray

        for key in started:
            try:
                self._actors[key] = ray.get_actor(key, namespace=self.namespace)
            except ValueError:
                self._free(key)
        return self.living([key for key in started if key in self._actors])

    def start(self, launches: Sequence[Launch], note: Note) -> list[Refused]:
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        for launch in launches:
            needs = {"CPU": float(self.cpus)} | ({"GPU": self.gpus} if self.gpus else {})
            name = f"{self.namespace}-{launch.key}"
            group = placement_group([needs], strategy="STRICT_PACK", name=name, lifetime="detached")
            words = ["train", str(self.folder.recipe), *launch.overrides, *self.options, "--run", str(launch.run.root)]
            made = ray.remote(TrialActor).options(
                name=launch.key,
                namespace=self.namespace,
                lifetime="detached",
                num_cpus=self.cpus,
                num_gpus=self.gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group),
            )
            self._actors[launch.key] = made.remote(words, str(self.folder.log(launch.key)), dict(self.environment))
            note(Started(key=launch.key, job=launch.key))
        return []

    def living(self, keys: Sequence[str]) -> set[str]:
        import ray
        from ray.exceptions import RayError

        for key in [key for key in keys if time.monotonic() > self._asked.get(key, float("inf"))]:
            self._free(key)  # it hangs, or still waits for its place
        for key in keys:
            if key in self._actors and key not in self._pending:
                self._pending[key] = self._actors[key].lives.remote()
        asked = {self._pending[key]: key for key in keys if key in self._pending}
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_S) if asked else ([], [])
        living = {asked[reference] for reference in silent}
        for reference in answered:
            key = asked[reference]
            del self._pending[key]
            try:
                lives = ray.get(reference)
            except RayError:  # its node or its process is lost
                lives = False
            if lives:
                living.add(key)
            else:
                self._free(key)
        return living

    def stop(self, key: str) -> None:
        if key not in self._asked and key in self._actors:
            self._asked[key] = time.monotonic() + _KILLED_AFTER_S
            self._actors[key].signal.remote(int(signal.SIGTERM))

    def kill(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._free(key)

    def close(self) -> None:
        import ray

        ray.shutdown()

    def _free(self, key: str) -> None:
        """Gives back what a trial held; its process ends with its actor."""
        import ray
        from ray.util import get_placement_group, remove_placement_group

        actor = self._actors.pop(key, None)
        self._pending.pop(key, None)
        self._asked.pop(key, None)
        if actor is not None:
            ray.kill(actor)
        try:
            remove_placement_group(get_placement_group(f"{self.namespace}-{key}"))
        except ValueError:  # there is none
            return

    def _refuse_small_nodes(self) -> None:
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in nodes):
            most = max((int(node.get("CPU", 0)) for node in nodes), default=0)
            gpus = max((int(node.get("GPU", 0)) for node in nodes), default=0)
            needs = f"{self.cpus} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")
            self.close()
            raise MachineCannot(
                f"a trial takes {needs}, but the largest node of the Ray cluster {self.address} has {most} CPUs and "
                f"{gpus} GPUs: use a smaller --nproc"
            )


def connect(address: str, namespace: str) -> None:
    """Joins the cluster, silently. Raises MachineCannot where there is none at the address, or it refuses."""
    try:
        _refuse_silence(address)
        import ray

        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        first = "".join(str(error).strip().splitlines()[:1])
        raise MachineCannot(
            f"no Ray cluster answers at {address}: {first}. Start one (slurm/ray-cluster, or `ray start --head`), "
            "set RAY_ADDRESS to it; a cluster with a token needs RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH as well"
        ) from None


def _refuse_silence(address: str) -> None:
    """Ray itself tries for two minutes, and writes to the terminal. Raises OSError where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():  # else Ray looks for the address itself
        socket.create_connection((host, int(port)), _CONNECT_S).close()


def total(resource: str) -> float:
    """Of all nodes of the cluster."""
    import ray

    return float(ray.cluster_resources().get(resource, 0))
