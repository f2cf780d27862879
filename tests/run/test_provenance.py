"""What a run was made with."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from biodist.run.provenance import LIBRARIES, Provenance, commit_of, provenance

pytestmark = pytest.mark.timeout(60)


def git(clone: Path, *arguments: str) -> str:
    command = ["git", "-C", str(clone), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def test_versions_are_those_installed(tmp_path: Path) -> None:
    found = provenance({"train.0": "ab12"})
    assert found.libraries["torch"] == metadata.version("torch")
    assert set(found.libraries) <= set(LIBRARIES)
    assert found.python == sys.version.split()[0] and found.data == {"train.0": "ab12"}
    found.save(tmp_path / "provenance.json")
    assert Provenance.load(tmp_path / "provenance.json") == found


def test_it_imports_no_library() -> None:
    script = (
        "import sys; from biodist.run.provenance import provenance; provenance({});"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'transformers', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=30).returncode == 0


def test_a_clones_commit_and_dirtiness(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None  # nothing committed yet
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "one")
    clean = commit_of(tmp_path)
    assert clean is not None and clean.commit == git(tmp_path, "rev-parse", "HEAD") and not clean.dirty
    (tmp_path / "a").write_text("2")
    changed = commit_of(tmp_path)
    assert changed is not None and changed.dirty
    (tmp_path / "sub").mkdir()
    assert commit_of(tmp_path / "sub") is None  # installed somewhere inside another project's clone
