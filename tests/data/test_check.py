"""What `data check` counts, on small files with known answers."""

from pathlib import Path

from biodist.data.check import check_file
from biodist.data.iob import Source


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
