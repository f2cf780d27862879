"""Where ranks of several nodes meet."""

from __future__ import annotations

import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from biodist.errors import MachineCannot
from biodist.plan.decide import place
from biodist.plan.machine import Machine
from launch.environment import worker_environment
from launch.ranks import Command, Ranks
from launch.slurm.network import (
    first_port,
    interface_towards,
    listening_socket,
    meeting_between_nodes,
    own_address,
    reach,
)

HOST = "127.0.0.1"
PORTS = range(20000, 32001)


def test_the_interface_of_the_profile_gives_the_address() -> None:
    assert own_address("lo") == HOST


def test_an_interface_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(MachineCannot, match=r"has no network interface 'ib7', .* network_interface; it has .*\blo\b"):
        own_address("ib7")


def test_the_interface_towards_an_address_is_that_of_the_route() -> None:
    assert interface_towards(HOST) == "lo"


def test_a_port_that_is_taken_is_passed_over() -> None:
    with listening_socket(HOST, PORTS, 5) as first, listening_socket(HOST, PORTS, 5) as second:
        ports = [one.getsockname()[1] for one in (first, second)]
    assert ports[0] != ports[1] and set(ports) <= set(PORTS)


def test_nobody_can_take_a_port_between_its_choice_and_its_use() -> None:
    """Jobs that look for a port at the same instant: each has one of its own, and keeps it."""
    few = range(PORTS.start, PORTS.start + 400)
    with ExitStack() as held, ThreadPoolExecutor(4) as jobs:
        found = [held.enter_context(one) for one in jobs.map(lambda _: listening_socket(HOST, few, 0), range(100))]
        taken = [one.getsockname()[1] for one in found]
        assert len(set(taken)) == 100
        for port in taken[:5]:
            with pytest.raises(OSError, match="in use"):
                socket.create_server((HOST, port)).close()


def test_no_free_port_is_said() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MachineCannot, match=f"no port free on {HOST} in {port}-{port}; widen rendezvous_ports"):
            listening_socket(HOST, range(port, port + 1), 0)


def test_a_node_that_answers_is_reached_again_and_again() -> None:
    with meeting_between_nodes(HOST, PORTS, 77) as meeting:
        for _ in range(3):
            reach(meeting.probe, "n2", "n1")
        assert meeting.listening is not None
        assert meeting.address == f"tcp://{HOST}:{meeting.listening.getsockname()[1]}"
        assert not meeting.address.endswith(meeting.probe)


def test_a_node_that_does_not_answer_is_named() -> None:
    with listening_socket(HOST, PORTS, 99) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MachineCannot, match=rf"node n2 cannot reach node n1 at {HOST}:{port}: .*network_interface"):
        reach(f"{HOST}:{port}", "n2", "n1")


RANK = """
import sys
from types import SimpleNamespace as Of
from biodist.training.group import process_group
from biodist.training.placement import Placement
rank, address, more = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
words = ["--attempt", ".", "--rank", str(rank), "--local-rank", "0", "--world-size", "2", "--rendezvous", address]
plan = Of(zero_stage=0, machine=Of(processes_per_node=1, device="cpu", backend="gloo"),
          recipe=Of(distributed=Of(timeout_s=60)))
with process_group(plan, Placement.parse([*words, *more])) as control:
    print(control.gather(rank * 10))
"""


def test_ranks_meet_where_the_launcher_listens(tmp_path: Path) -> None:
    """Rank 0 takes the socket over; rank 1 may be first, and waits."""
    variables = worker_environment(
        os.environ, place(Machine(host="here", processor="cpu", cores=2, memory=8 * 10**9), 2, "cpu")
    )
    logs = [tmp_path / f"rank-{rank}.log" for rank in range(2)]
    program = (sys.executable, "-c", RANK)
    with meeting_between_nodes(HOST, PORTS, 200) as meeting:
        assert meeting.listening is not None
        number = meeting.listening.fileno()
        commands = [
            Command(1, [*program, "1", meeting.address], logs[1]),
            Command(0, [*program, "0", meeting.address, "--listening", str(number)], logs[0], (number,)),
        ]
        with Ranks(commands, variables) as ranks:
            meeting.listening.close()
            until = time.monotonic() + 120
            while ranks.running and time.monotonic() < until:
                ranks.look()
                time.sleep(0.1)
    assert [log.read_text().splitlines()[-1:] for log in logs] == [["[0, 10]"]] * 2, logs[0].read_text()
    assert sorted((ending.rank, ending.status) for ending in ranks.endings) == [(0, 0), (1, 0)]


def test_a_stranger_at_the_port_is_found_out() -> None:
    with socket.create_server((HOST, 0)) as stranger:
        port = stranger.getsockname()[1]
        stranger.settimeout(10)
        from threading import Thread

        def answer() -> None:
            caller, _ = stranger.accept()
            caller.sendall(b"SSH-2.0")
            caller.close()

        thread = Thread(target=answer)
        thread.start()
        with pytest.raises(MachineCannot, match="something else than this job answers"):
            reach(f"{HOST}:{port}", "n2", "n1")
        thread.join(10)


def test_two_jobs_and_two_lives_begin_at_other_ports() -> None:
    starts = {first_port(job, restart, PORTS) for job, restart in (("17", 0), ("17", 1), ("18", 5), ("17_3", 0))}
    assert len(starts) == 4
    assert first_port("18", 0, PORTS) - first_port("17", 31, PORTS) >= 2, "no life of a job begins among another's"
    assert first_port("18", 0, PORTS) - first_port("17", 0, PORTS) >= 60, "room to pass over ports that are taken"
