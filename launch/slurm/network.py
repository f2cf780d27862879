"""Where the ranks of several nodes meet: an address of rank 0's node, shown to be reachable before anything starts."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType

import psutil

from biodist.errors import MachineCannot

_ANSWER = b"biodist"
_TRY_S = 15.0
_PORTS_OF_A_JOB = 64
_MOST_TRIED = 200
_BACKLOG = 1024


@dataclass(frozen=True)
class Meeting:
    """Where the ranks of an attempt meet, and how the other nodes find out whether they can reach it."""

    address: str  # file:///… on one node, tcp://host:port between nodes
    probe: str = ""  # host:port where the leader answers; empty on one node
    listening: socket.socket | None = None  # what rank 0's worker takes over: it listens at the address already


@contextmanager
def meeting_between_nodes(host: str, ports: range, wanted: int) -> Iterator[Meeting]:
    """Opens both, on `host`, at ports from `wanted` on, until it is left. Raises MachineCannot."""
    with Probe(listening_socket(host, ports, wanted)) as probe, listening_socket(host, ports, wanted + 1) as listening:
        yield Meeting(f"tcp://{host}:{listening.getsockname()[1]}", f"{host}:{probe.port}", listening)


def own_address(interface: str | None) -> str:
    """The address of this node that other nodes can use: of `interface`, or that of the host's name.

    Raises MachineCannot when there is no such interface, or it has no address.
    """
    if interface is not None:
        return _address_of(interface)
    with suppress(OSError):
        address: str = socket.gethostbyname(socket.gethostname())
        if not address.startswith("127."):
            return address
    states = psutil.net_if_stats()
    up = [name for name in psutil.net_if_addrs() if name != "lo" and name in states and states[name].isup]
    for name in up:
        with suppress(MachineCannot):
            return _address_of(name)
    raise MachineCannot(
        f"{socket.gethostname()} has no address that another node could reach; name its network in the profile: "
        f"network_interface, one of {', '.join(psutil.net_if_addrs())}"
    )


def interface_towards(address: str) -> str:
    """The interface through which this node reaches `address`. Raises MachineCannot when there is none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing: it asks the kernel for the route
            local: str = probe.getsockname()[0]
    except OSError as error:
        raise MachineCannot(f"{socket.gethostname()} has no route to {address}: {error.strerror}") from None
    for name, addresses in psutil.net_if_addrs().items():
        if any(found.family == socket.AF_INET and found.address == local for found in addresses):
            return str(name)
    raise MachineCannot(f"{socket.gethostname()} reaches {address} from {local}, which none of its interfaces has")


def listening_socket(address: str, ports: range, wanted: int) -> socket.socket:
    """A socket that listens on `address`, on the first port of `ports` from `wanted` on that can be had.

    It is held from then on: a port that is only looked for can be another's before anybody listens there. Raises
    MachineCannot.
    """
    for offset in range(min(len(ports), _MOST_TRIED)):
        with suppress(OSError):
            return socket.create_server((address, ports[(wanted + offset) % len(ports)]), backlog=_BACKLOG)
    raise MachineCannot(f"no port free on {address} in {ports.start}-{ports.stop - 1}; widen rendezvous_ports")


class Probe:
    """Answers whoever connects, while it is entered: the other nodes so find out whether they can reach this one."""

    def __init__(self, listening: socket.socket):
        """Closes `listening` at its end."""
        self._listening = listening
        self.port: int = listening.getsockname()[1]
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._answer, name="probe", daemon=True)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(1.0)

    def _answer(self) -> None:
        while not self._closed.is_set():
            with suppress(OSError):
                caller, _ = self._listening.accept()
                with caller:
                    caller.sendall(_ANSWER)


def reach(probe: str, here: str, there: str) -> None:
    """Connects to the leader's probe from node `here`. Raises MachineCannot when node `there` does not answer."""
    host, _, port = probe.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_TRY_S) as connection:
            said = _received(connection, len(_ANSWER))
    except OSError as error:
        why = error.strerror or str(error)
        raise MachineCannot(
            f"node {here} cannot reach node {there} at {probe}: {why}. Name the network between them in the profile "
            "(network_interface), or open these ports between nodes (rendezvous_ports)"
        ) from None
    if said != _ANSWER:
        raise MachineCannot(f"node {here}: something else than this job answers at {probe}; change rendezvous_ports")


def _received(connection: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := connection.recv(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def first_port(job_id: str, restart: int, ports: range) -> int:
    """Where the search for a port begins: two jobs on one node should not try the same one.

    Jobs of neighbouring numbers start together: were they close, each would pass over the other's ports.
    """
    digits = int("".join(filter(str.isdigit, job_id)) or secrets.randbelow(1 << 16))
    return (digits * _PORTS_OF_A_JOB + restart * 2 % _PORTS_OF_A_JOB) % len(ports)


def _address_of(interface: str) -> str:
    there = psutil.net_if_addrs()
    if interface not in there:
        raise MachineCannot(
            f"{socket.gethostname()} has no network interface {interface!r}, which the profile names as "
            f"network_interface; it has {', '.join(there)}"
        )
    found: Iterable[str] = (a.address for a in there[interface] if a.family == socket.AF_INET)
    address: str | None = next(iter(found), None)
    if address is None:
        raise MachineCannot(f"network interface {interface!r} of {socket.gethostname()} has no IPv4 address")
    return address
