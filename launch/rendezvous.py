"""The file through which the ranks of one machine find each other. No port is opened for it."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from biodist.run.folder import AttemptFolder

# torch takes the path out of a URL and undoes no quoting: these would end it early or vanish.
_BREAKS_URL = frozenset("?#;\n\r\t")


@contextmanager
def rendezvous(attempt: AttemptFolder) -> Iterator[str]:
    """The `file://` address, in the attempt's folder, or in a private temporary one where that does not serve (a file
    system without locks, a name that no URL carries). Removed at the end."""
    path = attempt.rendezvous.absolute()
    private: Path | None = None
    if not _serves(path):
        private = Path(tempfile.mkdtemp(prefix="biodist-"))
        path = private / "rendezvous"
    try:
        yield f"file://{path}"
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)


def _serves(path: Path) -> bool:
    """Whether ranks can meet there: torch locks the file with flock and reads its name from a URL."""
    if _BREAKS_URL & set(str(path)) or not str(path).isprintable():
        return False
    try:
        with path.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError:
        return False
    return True
