"""`biodist predict` on a finished run: what training scored is what it says, in every format, stopped or not."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from biodist.data.formats.reading import DocumentReading
from biodist.data.formats.source import DocumentSource
from biodist.data.iob import Reading, Source

pytestmark = pytest.mark.timeout(280)
TEXT = "patients with severe gout were treated. The severe asthma and mild fibrosis remained.\n"


@pytest.fixture(scope="module")
def finished(undisturbed: Callable[[str, int], Any], terminal: Any) -> str:
    made = undisturbed("ddp", 2)
    assert made.said.code == 0, made.said.text
    return str(made.run.name)


def predicted(terminal: Any, *arguments: str) -> dict[str, Any]:
    said = terminal.run("predict", *arguments, "--json")
    assert said.code == 0, said.text
    assert "Traceback" not in said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_the_predictions_are_those_that_training_scored(terminal: Any, finished: str) -> None:
    """Scored against the gold tags they give the figures of result.json."""
    one = predicted(terminal, finished, "test.tsv", "--out", "one.tsv")
    assert one["documents"] == 20 and not list(terminal.folder.glob("*.parts"))
    gold = list(Reading(Source(terminal.folder / "test.tsv")))
    said = list(Reading(Source(terminal.folder / "one.tsv")))
    assert [each.tokens for each in said] == [each.tokens for each in gold]
    right = sum(len({*one.entities} & {*other.entities}) for one, other in zip(said, gold, strict=True))
    found, there = (sum(len(each.entities) for each in records) for records in (said, gold))
    scores = json.loads((terminal.folder / finished / "result.json").read_text())["metrics"]["test"]
    assert found and (right / found, right / there) == pytest.approx((scores["precision"], scores["recall"]))


FORMATS = {
    "note.txt": ("text", TEXT),
    "x.pubtator": ("pubtator", f"7|t|{TEXT}7\t0\t8\tpatients\tWrong\t-\n"),
}


def test_the_output_is_written_as_the_file_is(terminal: Any, finished: str) -> None:
    """BioC stays JSON, IOBES stays IOBES, where nothing else is asked for."""
    passage = {"offset": 0, "text": TEXT}
    (terminal.folder / "pm.json").write_text(json.dumps({"documents": [{"id": "7", "passages": [passage]}]}))
    (terminal.folder / "e.tsv").write_text("".join(f"{word}\tO\n" for word in TEXT.split()))
    said = predicted(terminal, finished, "pm.json")
    assert said["out"] == "pm.predicted.json" and said["format"] == "bioc"
    assert json.loads((terminal.folder / said["out"]).read_text())["documents"][0]["id"] == "7"
    assert predicted(terminal, finished, "e.tsv", "--format", "iobes", "--out", "e.out")["format"] == "iobes"
    (record,) = Reading(Source(terminal.folder / "e.out", "iobes"))
    assert record.tokens == tuple(TEXT.split()) and record.entities


def test_both_formats_say_the_same(terminal: Any, finished: str) -> None:
    """Offsets into the file's own text, type and score; what the file had marked is not taken over."""
    found = {}
    for name, (format, text) in FORMATS.items():
        (terminal.folder / name).write_text(text)
        out = f"{name}.out"
        said = predicted(terminal, finished, name, "--format", format, "--out", out)
        (document,) = DocumentReading(DocumentSource(terminal.folder / out, said["format"]))
        assert document.text.strip() == TEXT.strip()
        found[name] = document.mentions
    mentions = found["note.txt"]
    assert mentions and all(each.type == "Disease" and 0 < (each.score or 0) <= 1 for each in mentions)
    assert all(TEXT[each.start : each.end].strip() == TEXT[each.start : each.end] for each in mentions)
    assert all(each == mentions for each in found.values())


def test_stopped_and_killed_it_goes_on_where_it_was(terminal: Any, finished: str) -> None:
    sentence = TEXT.strip()
    many = terminal.folder / "many.jsonl"
    with many.open("w") as file:
        for number in range(1500):
            file.write(json.dumps({"id": f"d{number}", "text": sentence}) + "\n")
    arguments = (finished, "many.jsonl", "--out", "many.out")
    parts = terminal.folder / "many.out.parts"

    def begin() -> Any:
        started = terminal._popen(("predict", *arguments), ("-m", "biodist.cli"))
        deadline = time.monotonic() + 120
        before = len(list(parts.glob("part-*"))) if parts.is_dir() else 0
        while len(list(parts.glob("part-*")) if parts.is_dir() else []) == before and started.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return started

    stopped = begin()
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    assert (
        stopped.returncode == 75 and "the same command goes on" in err and not (terminal.folder / "many.out").exists()
    )
    assert (parts.stat().st_mode & 0o777) == 0o700
    first = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert first
    killed = begin()
    killed.kill()
    killed.communicate(timeout=60)
    other = terminal.run("predict", finished, "test.tsv", "--out", "many.out")
    assert other.code == 2 and "parts of another prediction" in other.err and "content" in other.err
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert kept.items() >= first.items()
    done = predicted(terminal, *arguments, "--nproc", "2")  # two say what one did
    documents = list(DocumentReading(DocumentSource(terminal.folder / "many.out", "jsonl")))
    assert [each.document for each in documents] == [f"d{number}" for number in range(1500)] and done[
        "documents"
    ] == 1500
    assert len({each.mentions for each in documents}) == 1 and not parts.exists()


def test_what_is_wrong_is_said_before_anything_is_loaded(terminal: Any, finished: str) -> None:
    (terminal.folder / "bad.jsonl").write_text('{"id": "1"}\n')
    for arguments, said in (
        (("nowhere", "test.tsv"), "is no run's folder"),
        ((finished, "bad.jsonl"), "has no field text"),
        ((finished, "absent.txt"), "cannot be read"),
        ((finished, "test.what"), "give --format"),
        ((finished, "test.tsv", "--out", "test.tsv"), "is there already"),
    ):
        found = terminal.run("predict", *arguments)
        assert found.code == 2 and said in found.err and "Traceback" not in found.err, found.text
    assert not list(terminal.folder.glob("bad*.parts"))
