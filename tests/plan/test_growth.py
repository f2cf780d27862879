"""The plan against the kernel's count: one training in fresh processes. The long form: `benchmarks/memory.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from memory_rows import Case, Row, read_rows  # noqa: E402
from memory_table import GOAL, markdown  # noqa: E402

CASE = Case(model="minilm", shortest=32, longest=32, strategy="zero2")


@pytest.mark.timeout(300)
def test_a_process_grows_as_planned(tmp_path: Path) -> None:
    """MiniLM's shape under ZeRO-2 in two processes: within 10 %; without what comes late it would not be."""
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, str(BENCHMARKS / "memory.py"), "--out", str(out), "--models", CASE.model]
    command += ["--lengths", "32", "--only", CASE.name]
    run = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (line,) = out.read_text().splitlines()
    row = Row.model_validate_json(line)
    assert row.case == CASE
    assert len(row.ranks) == 2
    assert abs(row.ratio - 1) <= GOAL
    assert "| met |" in markdown([row], "")
    at_once = row.model_copy(update={"planned": row.planned.model_copy(update={"late": 0})})
    assert "| not met |" in markdown([at_once], "")
    assert read_rows(out, row.commit, "exact") == {CASE.name: row}  # what is on record is not measured again
    assert read_rows(out, row.commit, "default") == {}
