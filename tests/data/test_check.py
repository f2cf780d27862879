"""What `data check` counts, on small files with known answers."""

import json
from pathlib import Path

from biodist.config.recipe import CorpusEntry
from biodist.data.check import check_file, check_text_file
from biodist.data.iob import Source
from biodist.data.texts import TextSource


def check(folder: Path, content: str, **options):
    path = folder / "file.tsv"
    path.write_text(content, encoding="utf-8")
    return check_file(Source(path, **options))


def sentence(*tagged: str) -> str:
    return "".join(each.replace("/", "\t") + "\n" for each in tagged) + "\n"


LONG = sentence("The/O", "APC/B-Gene", "gene/O", "is/O", "long/O")
OTHERWISE = sentence("the/O", "APC/O", "gene/O", "-/O", "is/O", "long/O")


def test_repeats_go_by_letters_and_digits(tmp_path):
    report = check(tmp_path, LONG + sentence("x/O") + OTHERWISE + LONG + OTHERWISE)
    assert (report.repeats.repeated, report.repeats.contradictions) == (3, 1)
    assert report.repeats.lines == ((1, 9),)
    assert report.problems == ()


def test_short_and_wordless_sentences_never_repeat(tmp_path):
    report = check(tmp_path, sentence("a/O", "b/O") * 3 + sentence(*["-/O"] * 7) * 3)
    assert report.repeats.repeated == 0 and report.counts.sentences == 6


def test_problems_are_reported_beside_the_counts(tmp_path):
    report = check(tmp_path, LONG + sentence("a/I-Gene"), declared=("Gene",))
    assert (report.counts.broken, report.counts.repaired, len(report.problems)) == (1, 0, 1)
    assert report.problems[0].where.endswith("file.tsv:7")
    mended = check(tmp_path, LONG + sentence("a/I-Gene"), repair=True)
    assert (mended.counts.broken, mended.counts.repaired, mended.problems) == (1, 1, ())


def test_json_holds_plain_values(tmp_path):
    report = check(tmp_path, LONG + OTHERWISE).as_json()
    assert report["mentions"] == {"Gene": 1} and report["duplicates"] == 1
    assert report["contradicting_lines"] == [[1, 7]] and report["problems"] == []


def check_pairs(folder: Path, *rows: tuple[str, str, str]):
    path = folder / "pairs.jsonl"
    names = ("sentence1", "sentence2", "gold_label")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows), encoding="utf-8")
    columns = CorpusEntry(path=str(path), format="jsonl").columns_for("nli")
    return check_text_file(TextSource(path, "jsonl", columns, no_majority=True))


def test_pairs_that_occur_again(tmp_path):
    report = check_pairs(
        tmp_path,
        ("He has no pain.", "He is well.", "neutral"),
        ("He has NO pain", "he is well", "entailment"),
        ("He has no pain.", "He is well.", "neutral"),
        ("He has no pain. He", "is well.", "neutral"),  # the same words, cut elsewhere: another pair
        ("He has no pain.", "He is well.", "-"),
        ("a", "b", "neutral"),
        ("a", "b", "entailment"),  # too short to be a duplicate
    )
    assert (report.repeats.repeated, report.repeats.contradictions, report.repeats.lines) == (2, 1, ((1, 2),))
    written = report.as_json()
    assert (written["samples"], written["dropped"], written["pairs"], written["empty"]) == (6, 1, True, 0)
    assert written["classes"] == {"entailment": 2, "neutral": 4}
    assert written["texts"][0] == {"column": "sentence1", "words": 19, "longest": 5, "longest_line": 4}
    assert json.loads(json.dumps(written)) == written


def test_empty_sides_are_counted_and_problems(tmp_path):
    report = check_pairs(tmp_path, ("a", " ", "neutral"), ("", "", "neutral"), ("a", "b", "neutral"))
    assert report.counts.empty == 3 and len(report.problems) == 3 and report.counts.samples == 1
