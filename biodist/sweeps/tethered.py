"""Runs a command that ends with the process that started it, however that one ends.

``python -m biodist.sweeps.tethered PARENT COMMAND …``: a trial on a Ray cluster must not outlive its actor, whose end
is what the driver sees.
"""

from __future__ import annotations

import os
import signal
import sys

from biodist.run.tether import tether


def main(words: list[str]) -> None:
    """Becomes the command."""
    tether(int(words[0]))
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    os.execvp(words[1], words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
