"""The command line. Exit codes: 0 done, 2 wrong usage, 4 this machine cannot, or there is no cluster."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from development import packages
from development.cluster import Cluster
from development.configuration import DAEMONS, FIRST_PORT, LONGEST_ROOT, NODES, ROOT, StateFolder
from development.refusal import Refusal

LOCK = "\0biodist-devcluster:"  # and the state folder: an abstract socket, no file, free again whatever ends its owner


def main() -> int:
    """Runs one verb; gives the exit code."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `devcluster status | head` ends quietly
    arguments = _parser().parse_args()
    root = arguments.root.absolute()
    try:
        if len(str(root)) > LONGEST_ROOT:
            raise Refusal(
                f"--root has {len(str(root))} characters, its sockets allow {LONGEST_ROOT}: choose a shorter one"
            )
        arguments.verb(Cluster(StateFolder(root.resolve())), arguments)
    except Refusal as refusal:
        sys.stderr.write(f"devcluster: {refusal}\n")
        return 4
    return 0


def up(cluster: Cluster, arguments: argparse.Namespace) -> None:
    """Makes the cluster, unless it is there."""
    with _alone(cluster, "up"):
        if cluster.is_up:
            if cluster.folder.with_user_signal != arguments.user_signal:
                was = "with" if cluster.folder.with_user_signal else "without"
                raise Refusal(f"already up {was} --user-signal: run `{_line(cluster, 'down')}` first")
            return _say(f"already up: {cluster.folder.root}")
        if packages.install_missing():
            _say(f"installed {' and '.join(packages.PACKAGES)}")
        if cluster.has_remains:  # of one that died
            _check_is_ours(cluster.folder)
            cluster.unmake()
        _check_is_enterable(cluster.folder)
        began = time.monotonic()
        cluster.make(arguments.user_signal, arguments.port)
        took_s = time.monotonic() - began
    _say(f"up after {took_s:.1f} s: {', '.join(NODES)}; state in {cluster.folder.root}")
    _say(f'eval "$({_line(cluster, "env")})"   makes Slurm\'s commands talk to it')


def down(cluster: Cluster, arguments: argparse.Namespace) -> None:
    """Unmakes the cluster, and what is left of one that died."""
    with _alone(cluster, "down"):
        if not cluster.has_remains:
            return _say("not up")
        _check_is_ours(cluster.folder)
        cluster.unmake()
    _say("down; no process is left")


def status(cluster: Cluster, arguments: argparse.Namespace) -> None:
    """Prints nodes, partitions and jobs."""
    _check_up(cluster)
    found = cluster.describe()
    if arguments.json:
        return _say(json.dumps(found, indent=2))
    _say(f"{found['root']}: up {'with' if found['user_signal'] else 'without'} user signal")
    _say("nodes       " + "  ".join(f"{node} {state}" for node, state in found["nodes"].items()))
    for row in found["partitions"]:
        _say(f"partition   {row['partition']:<10} {row['state']}, at most {row['limit']} a job")
    for row in found["jobs"]:
        _say(f"job         {row['job']:<10} {row['partition']} {row['state']} {row['nodes']} ({row['reason']})")
    _say(f"processes   {len(found['processes'])} started by jobs")


def env(cluster: Cluster, arguments: argparse.Namespace) -> None:
    """Prints the lines to `eval`."""
    _check_up(cluster)
    _say(f"export SLURM_CONF={cluster.folder.slurm_conf}")


def kill_node(cluster: Cluster, arguments: argparse.Namespace) -> None:
    """Loses a node, as if its power had gone."""
    with _alone(cluster, "kill-node"):
        _check_up(cluster)
        cluster.kill_node(arguments.node)
    _say(f"{arguments.node}: its slurmd and all that ran there are killed")


def start_node(cluster: Cluster, arguments: argparse.Namespace) -> None:
    """Brings a lost node back."""
    with _alone(cluster, "start-node"):
        _check_up(cluster)
        cluster.start_node(arguments.node)
    _say(f"{arguments.node}: back")


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help=f"state folder (default: {ROOT})")
    parser = argparse.ArgumentParser(prog="slurm/devcluster", description="A real Slurm of four nodes on this machine.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(verb: str, does: object, text: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(verb, help=text, description=text, parents=[shared])
        command.set_defaults(verb=does)
        return command

    signals = "send a job's own --signal at preemption (preempt_send_user_signal)"
    make = add("up", up, "make the cluster")
    make.add_argument("--user-signal", action="store_true", help=signals)
    make.add_argument("--port", type=int, default=FIRST_PORT, help="the first of five ports (default: %(default)s)")
    add("down", down, "end every job and daemon of it, remove its state")
    add("status", status, "nodes, partitions, jobs").add_argument("--json", action="store_true", help="for programs")
    add("env", env, 'lines for eval "$(slurm/devcluster env)"')
    add("kill-node", kill_node, "lose a node: kill its slurmd and all that runs there").add_argument(
        "node", choices=NODES
    )
    add("start-node", start_node, "bring a lost node back").add_argument("node", choices=NODES)
    return parser


def _alone(cluster: Cluster, verb: str) -> socket.socket:
    """Refuses all but root, and a second command on this cluster; the lock is held until the socket is closed."""
    if os.geteuid() != 0:
        raise Refusal(f"{verb} needs root: it starts {', '.join(DAEMONS)}")
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"{LOCK}{cluster.folder.root}")
    except OSError:
        raise Refusal(f"another command is at work on {cluster.folder.root}; wait for its end") from None
    return lock


def _check_up(cluster: Cluster) -> None:
    if not cluster.is_up:
        raise Refusal(f"no cluster in {cluster.folder.root}: run `{_line(cluster, 'up')}`")


def _check_is_ours(folder: StateFolder) -> None:
    """A folder is removed only if `up` made it."""
    if folder.root.exists() and any(folder.root.iterdir()) and not folder.munge_key.exists():
        raise Refusal(f"{folder.root} is no state folder of a development cluster: choose another --root")


def _check_is_enterable(folder: StateFolder) -> None:
    """Every user's commands must reach slurm.conf and the MUNGE socket; munged insists on it."""
    closed = [str(parent) for parent in folder.root.parents if parent.exists() and not parent.stat().st_mode & 0o001]
    if closed:
        raise Refusal(f"not everyone may enter {', '.join(closed)}: choose another --root, or `chmod o+x` it")


def _line(cluster: Cluster, verb: str) -> str:
    """The command to type."""
    root = cluster.folder.root
    return f"slurm/devcluster {verb}" + (f" --root {root}" if root != ROOT else "")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
