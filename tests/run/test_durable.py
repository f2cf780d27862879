"""Files are there whole or not at all; streams survive a torn last line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.errors import RunFailed
from biodist.run.durable import JsonLines, read_json_lines, remove_tree, write_json, write_text

pytestmark = pytest.mark.timeout(60)
VALUES = st.lists(st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=8))), max_size=6)


def test_text_is_replaced_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a b ü.txt"
    write_text(path, "first")
    write_text(path, "Größe\n")
    assert path.read_text(encoding="utf-8") == "Größe\n"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    # A limit on file size is a full disk as this process sees it.
    script = (
        "import resource, signal, sys; from pathlib import Path; from biodist.run.durable import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_text(Path(sys.argv[1]), 'y' * 100_000)\n"
        "except OSError:\n    sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], timeout=30).returncode == 7
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_stream_keeps_order_and_appends_when_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for start in (0, 2):
        with JsonLines(path) as lines:
            lines.append({"n": start})
            lines.append({"n": start + 1})
    assert [value["n"] for value in read_json_lines(path)] == [0, 1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(values=VALUES, cut=st.integers(min_value=0, max_value=300))
def test_a_stream_cut_at_any_byte_gives_its_whole_lines_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, object]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("stream") / "s.jsonl"
    with JsonLines(path) as lines:
        for value in values:
            lines.append(value)
    data = path.read_bytes()[:cut]
    path.write_bytes(data)
    whole = data.count(b"\n")
    assert list(read_json_lines(path)) == values[:whole]
    with JsonLines(path) as lines:
        lines.append({"new": True})
    assert list(read_json_lines(path)) == [*values[:whole], {"new": True}]


def test_a_torn_line_longer_than_a_chunk_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"n":1}\n' + b"x" * 200_000)
    with JsonLines(path) as lines:
        lines.append({"n": 2})
    assert [value["n"] for value in read_json_lines(path)] == [1, 2]


def test_a_damaged_whole_line_is_named_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"n":1}\nsecret text\n{"n":2}\n')
    with pytest.raises(RunFailed, match=r"s\.jsonl:2: not a JSON line") as caught:
        list(read_json_lines(path))
    assert "secret" not in str(caught.value)


def test_no_stream_is_an_empty_one(tmp_path: Path) -> None:
    assert list(read_json_lines(tmp_path / "none.jsonl")) == []


def test_infinite_values_come_back(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "s.jsonl") as lines:
        lines.append({"grad_norm": float("inf")})
    assert next(read_json_lines(tmp_path / "s.jsonl")) == {"grad_norm": float("inf")}


def test_what_vouches_for_a_folder_goes_first(tmp_path: Path) -> None:
    folder = tmp_path / "step-1"
    inner = folder / "shards"
    inner.mkdir(parents=True)
    (folder / "MANIFEST.json").write_text("{}")
    (inner / "a").write_text("a")
    # A mount point or a busy file may stop a removal half-way: here a link in place of the folder's inside.
    order: list[str] = []
    script = (
        "import sys; from pathlib import Path; from biodist.run.durable import remove_tree\n"
        "sys.addaudithook(lambda e, a: print(e, a[0]) if e in ('os.remove', 'os.rmdir', 'shutil.rmtree') else None)\n"
        "remove_tree(Path(sys.argv[1]), first=['MANIFEST.json', 'absent'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=30)
    order = done.stdout.splitlines()
    assert order[0].endswith("MANIFEST.json")
    assert next(index for index, line in enumerate(order) if "rmtree" in line) > 0
    assert list(tmp_path.iterdir()) == []


def test_removing_nothing_is_fine_and_links_are_not_followed(tmp_path: Path) -> None:
    remove_tree(tmp_path / "absent")
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    link = tmp_path / "link"
    link.symlink_to(kept)
    with pytest.raises(OSError):
        remove_tree(link)
    assert (kept / "file").exists()
