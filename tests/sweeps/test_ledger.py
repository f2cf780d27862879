"""The ledger survives what a crash leaves, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from biodist.errors import RunFailed
from biodist.sweeps.ledger import Ended, Intent, Ledger, Reported, read_ledger

INTENT = Intent(key="0123abcd-0001", number=1, proposal=1, seed=42, settings={"train.epochs": "3", "a": 1e-05})
EVENTS = (
    INTENT,
    Reported(key=INTENT.key, step=10, value=0.25),
    Ended(key=INTENT.key, state="finished", steps=10, value=0.25, seconds=1.5),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    for event in EVENTS:
        ledger.append(event)
    ledger.close()
    return path


def test_events_are_read_back(path: Path) -> None:
    assert tuple(read_ledger(path)) == EVENTS
    assert list(read_ledger(path.with_name("none.jsonl"))) == []


def test_a_torn_last_line_does_not_count_and_is_cut_off(path: Path) -> None:
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1, 7):
        path.write_bytes(whole[:-cut])
        assert tuple(read_ledger(path)) == EVENTS[:2]
        ledger = Ledger(path)
        ledger.append(EVENTS[2])
        ledger.close()
        assert tuple(read_ledger(path)) == EVENTS


def test_a_line_that_did_not_fit_leaves_nothing(path: Path) -> None:
    """Room is made, and the next line is whole. A limit on file size is a full disk as the process sees it."""
    script = (
        "import resource, signal, sys; from pathlib import Path; from biodist.sweeps.ledger import Ledger, Reported\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "path = Path(sys.argv[1]); ledger = Ledger(path); size = path.stat().st_size\n"
        "event = Reported(key='0123abcd-0001', step=20, value=0.5)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))\n"
        "try:\n    ledger.append(event)\n"
        "except OSError:\n    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "    ledger.append(event); sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], timeout=60).returncode == 7
    assert [event.kind for event in read_ledger(path)] == [*(event.kind for event in EVENTS), "reported"]


@pytest.mark.parametrize("line", ["{}", '{"kind": "intent"}', '{"kind": "other"}', "not JSON", "[1]"])
def test_a_line_that_is_no_event_is_named(path: Path, line: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], line + "\n", *lines[1:]]))
    with pytest.raises(RunFailed, match=r"ledger\.jsonl:2"):
        list(read_ledger(path))
