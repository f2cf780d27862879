"""Where ranks of several nodes meet."""

from __future__ import annotations

import socket

import pytest

from biodist.errors import MachineCannot
from launch.slurm.network import Probe, first_port, free_port, interface_towards, own_address, reach

HOST = "127.0.0.1"


def test_the_interface_of_the_profile_gives_the_address() -> None:
    assert own_address("lo") == HOST


def test_an_interface_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(MachineCannot, match=r"has no network interface 'ib7', .* network_interface; it has .*\blo\b"):
        own_address("ib7")


def test_the_interface_towards_an_address_is_that_of_the_route() -> None:
    assert interface_towards(HOST) == "lo"


def test_a_port_that_is_taken_is_passed_over() -> None:
    ports = range(20000, 32001)
    first = free_port(HOST, ports, 5)
    with socket.create_server((HOST, first)):
        second = free_port(HOST, ports, 5)
    assert first != second
    assert second in ports


def test_no_free_port_is_said() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MachineCannot, match=f"no port free on {HOST} in {port}-{port}; widen rendezvous_ports"):
            free_port(HOST, range(port, port + 1), 0)


def test_a_node_that_answers_is_reached_again_and_again() -> None:
    port = free_port(HOST, range(20000, 32001), 77)
    with Probe(HOST, port):
        for _ in range(3):
            reach(f"{HOST}:{port}", "n2", "n1")


def test_a_node_that_does_not_answer_is_named() -> None:
    port = free_port(HOST, range(20000, 32001), 99)
    with pytest.raises(MachineCannot, match=rf"node n2 cannot reach node n1 at {HOST}:{port}: .*network_interface"):
        reach(f"{HOST}:{port}", "n2", "n1")


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
    ports = range(20000, 32001)
    starts = {first_port(job, restart, ports) for job, restart in (("17", 0), ("17", 1), ("18", 5), ("17_3", 0))}
    assert len(starts) == 4
    assert first_port("18", 0, ports) - first_port("17", 31, ports) >= 2, "no life of a job begins among another's"
    assert first_port("18", 0, ports) - first_port("17", 0, ports) >= 60, "room to pass over ports that are taken"
