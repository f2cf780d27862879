"""TensorBoard on a tree, for this machine alone."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from biodist.errors import MachineCannot

HOST = "127.0.0.1"
_ENDS_S = 10.0
# Its life is tied to this process's: a server that nobody knows of would hold the port.
_PROGRAM = (
    "import sys; from biodist.run.tether import tether; tether(int(sys.argv.pop(1)));"
    "from tensorboard.main import run_main; run_main()"
)


def free_port(wanted: int) -> int:
    """`wanted`, or any free one where it is 0. Raises MachineCannot when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise MachineCannot(f"port {wanted} of {HOST}: {error.strerror}; name another with --port") from None
        return int(probe.getsockname()[1])


def tunnel(port: int) -> str:
    """What to type at home to see a server that listens here."""
    return f"ssh -N -L {port}:{HOST}:{port} {getpass.getuser()}@{socket.getfqdn()}"


@contextmanager
def serving(tree: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """TensorBoard on `tree`, listening on localhost alone, until the block is left."""
    options = ["--logdir", str(tree), "--host", HOST, "--port", str(port)]
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(os.getpid()), *options], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
