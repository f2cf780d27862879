"""The reader of tagged files: what it accepts, what it refuses and how it says so."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biodist.data import iob, text_file
from biodist.data.iob import Reading, Source
from biodist.data.records import Entity
from biodist.data.text_file import PROBLEMS_LISTED
from biodist.errors import UserError

GOOD = "Acute\tO\nHodgkin\tB-Disease\nlymphoma\tI-Disease\n\naspirin\tB-Chemical\n.\tO\n\n"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "corpus.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, content: str | bytes, **options):
    reading = Reading(Source(write(folder, content), **options))
    return list(reading), reading.report


def refused(folder: Path, content: str | bytes, **options) -> list[str]:
    with pytest.raises(UserError) as caught:
        read(folder, content, **options)
    assert all(problem.where.startswith(str(folder)) for problem in caught.value.problems)
    return [str(problem).removeprefix(f"{folder}/corpus.tsv") for problem in caught.value.problems]


def test_records_and_counts(tmp_path):
    records, report = read(tmp_path, GOOD)
    first, second = records
    assert (first.tokens, first.entities) == (("Acute", "Hodgkin", "lymphoma"), (Entity(1, 3, "Disease"),))
    assert (first.corpus, first.line, second.line, second.entities) == ("corpus", 1, 5, (Entity(0, 1, "Chemical"),))
    assert (report.sentences, report.tokens, report.documents) == (2, 5, 1)
    assert report.mentions == {"Chemical": 1, "Disease": 1}
    assert (report.longest, report.longest_line, report.broken, report.repaired) == (3, 1, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD.rstrip("\n"),
        "\n\n" + GOOD.replace("\n\n", "\n\n \n\t\n\n") + "\n\n\n",
        GOOD.replace("\t", " "),
        GOOD.replace("\t", "  "),
        GOOD.replace("\t", "\tNN\tO\t"),
    ],
    ids=["crlf", "bom", "no last newline", "blank runs", "space", "spaces", "four columns"],
)
def test_shapes_that_mean_the_same(tmp_path, content):
    def words(content):
        return [(record.tokens, record.entities) for record in read(tmp_path, content)[0]]

    assert words(content) == words(GOOD)


def test_docstart_ends_sentence_and_document(tmp_path):
    content = "-DOCSTART- (17)\n\na\tO\n-DOCSTART-\tO\nb\tB-X\n\n"
    records, report = read(tmp_path, content)
    assert [(record.document, record.tokens) for record in records] == [("17", ("a",)), ("2", ("b",))]
    assert report.documents == 2


def test_conll_comments_are_no_tokens_but_hashes_are(tmp_path):
    content = "# text of the file\n#\tB-Sign\nb\tO\n\n# another\nc\tO\n"
    records, _ = read(tmp_path, content, format="conll")
    assert [record.tokens for record in records] == [("#", "b"), ("c",)]
    assert "tag outside the scheme" in refused(tmp_path, content)[0]


def test_a_token_that_is_an_odd_space_is_kept(tmp_path):
    records, _ = read(tmp_path, "\u00a0\tB-X\n\u200b\tI-X\n")
    assert records[0].tokens == ("\u00a0", "\u200b") and records[0].entities == (Entity(0, 2, "X"),)


def test_map_renames_before_types_are_checked(tmp_path):
    records, report = read(tmp_path, "a\tB-DISO\nb\tI-DISO\n", declared=("Disease",), rename={"DISO": "Disease"})
    assert records[0].entities == (Entity(0, 2, "Disease"),) and report.mentions == {"Disease": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no sentence"),
        ("\n \n\n", "holds no sentence"),
        (b"a\tO\nb\0\tO\n", ":2: is binary"),
        ("a\tO\n".encode("utf-16"), ":1: is UTF-16"),
        ("a\tO\nna\u00efve\tO\n".encode("latin-1"), ":2: is not UTF-8 from byte 3 of the line on"),
        ("a\tO\nb\n", ":2: has 1 column"),
        ("a\n", ":1: has 1 column"),
        ("a\tO\nb\tNN\tO\n", ":2: has 3 columns where the file began with 2"),
        ("a\tO\n\tO\n", ":2: column 1: empty token"),
        ("a\tO\nb\tX-Disease\n", ":2: column 2: tag outside the scheme of format iob"),
        ("a\tO\nb\tB-\n", ":2: column 2: tag outside the scheme"),
        ("a\tB\n", ":1: column 2: tag outside the scheme"),
        ("a\tS-Disease\n", "format: iobes reads E- and S-"),
        ("a\tI-Disease\n", ":1: I- without B- before it"),
        ("a\tB-Disease\nb\tI-Chemical\n", ":2: I- changes the type inside a mention"),
        ("a\tB-Diseas\n", "nearest declared: Disease"),
        ("a\tB-Qqqqqqqq\n", "declared: Disease, Chemical"),
        (b"a" * (2 << 20), ":1: line longer than"),
    ],
)
def test_refusals_name_line_and_rule(tmp_path, content, said):
    problems = refused(tmp_path, content, declared=("Disease", "Chemical"))
    assert any(said in problem for problem in problems), problems


def test_missing_file_and_folder(tmp_path):
    for path, reason in ((tmp_path / "absent.tsv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=reason):
            list(Reading(Source(path)))


def test_every_problem_is_listed_in_order_and_quotes_no_text(tmp_path):
    problems = refused(tmp_path, "SECRET\nb\tSECRET\n\nc\tI-SECRET\nd\tB-SECRET\n\te\n", declared=("Disease",))
    assert [problem.split(":")[1] for problem in problems] == ["1", "2", "4", "6"]
    assert "here and on 1 more lines" in problems[2]
    assert "SECRET" not in "".join(problems)


def test_long_lists_are_cut_and_counted(tmp_path):
    problems = refused(tmp_path, "a\tO\n\n" + "a\tI-X\n\n" * (PROBLEMS_LISTED + 7))
    assert len(problems) == PROBLEMS_LISTED + 1 and problems[-1].endswith("and 7 more problems")


def test_broken_sequences_are_mended_and_counted_when_asked(tmp_path):
    content = "a\tI-X\nb\tI-X\nc\tI-Y\nd\tO\ne\tI-Y\n"
    records, report = read(tmp_path, content, repair=True)
    assert records[0].entities == (Entity(0, 2, "X"), Entity(2, 3, "Y"), Entity(4, 5, "Y"))
    assert (report.broken, report.repaired) == (3, 3)
    assert len(refused(tmp_path, content)) == 3


def test_iobes(tmp_path):
    records, _ = read(tmp_path, "a\tS-X\nb\tB-X\nc\tI-X\nd\tE-X\ne\tO\n", format="iobes")
    assert records[0].entities == (Entity(0, 1, "X"), Entity(1, 4, "X"))


@pytest.mark.parametrize(
    ("tags", "lines", "mended"),
    [
        ("B-X O", [1], [(0, 1)]),
        ("B-X I-X", [2], [(0, 2)]),
        ("B-X S-X", [1], [(0, 1), (1, 2)]),
        ("B-X B-X E-X", [1], [(0, 1), (1, 3)]),
        ("O E-X", [2], [(1, 2)]),
        ("O I-X E-X", [2], [(1, 3)]),
        ("B-X E-Y", [2], [(0, 1), (1, 2)]),
        ("S-X E-X", [2], [(0, 1), (1, 2)]),
    ],
)
def test_broken_iobes(tmp_path, tags, lines, mended):
    content = "".join(f"w\t{tag}\n" for tag in tags.split())
    assert [int(problem.split(":")[1]) for problem in refused(tmp_path, content, format="iobes")] == lines
    records, report = read(tmp_path, content, format="iobes", repair=True)
    assert [(entity.start, entity.end) for entity in records[0].entities] == mended
    assert report.repaired == len(lines)


def test_reading_twice_gives_the_same(tmp_path):
    reading = Reading(Source(write(tmp_path, GOOD)))
    assert list(reading) == list(reading) and reading.report.sentences == 2


def test_records_come_before_the_file_is_read_to_its_end(tmp_path):
    records = iter(Reading(Source(write(tmp_path, GOOD * 50_000 + "broken\n"))))
    assert next(records).tokens == ("Acute", "Hodgkin", "lymphoma")


WORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(
    lambda word: (
        word.strip(" \t\r") == word and word and " " not in word and not word.startswith(("-DOCSTART-", "\ufeff"))
    )
)
SENTENCES = st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=6)
ONE_FILE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ONE_FILE
@given(content=st.one_of(st.binary(max_size=300), st.text("aOBI-XSE\t \n\r#\u00e9", max_size=120).map(str.encode)))
@pytest.mark.parametrize("format", ["iob", "iobes", "conll"])
@pytest.mark.parametrize("repair", [False, True])
def test_any_bytes_give_records_or_a_user_error(tmp_path, content, format, repair):
    try:
        records, report = read(tmp_path, content, format=format, repair=repair)
    except UserError as error:
        assert error.problems
    else:
        assert report.sentences == len(records) > 0
        assert report.tokens == sum(len(record.tokens) for record in records)
        assert sum(report.mentions.values()) == sum(len(record.entities) for record in records)


@ONE_FILE
@given(sentences=SENTENCES, newline=st.sampled_from(["\n", "\r\n"]), gap=st.integers(1, 3))
def test_sentences_in_are_sentences_out(tmp_path, sentences, newline, gap):
    blocks = ["".join(f"{word}\tO{newline}" for word in sentence) for sentence in sentences]
    records, _ = read(tmp_path, (newline * gap).join(blocks).encode())
    assert [list(record.tokens) for record in records] == sentences


LINES = st.sampled_from(
    ["a\tB-Gene", "b\tI-Gene", "c\tO", "d\tO\r", "", "", "", " ", "-DOCSTART- (x)\tO", "-DOCSTART-", "e O", "\tO",
     "f", "g\tx\tO", "h h\tO", " i\tO", "# j\tO", "#", "k\tB-Cell", "l\tI-", "m\tE-Gene", "\ufeffn\tO",
     "o\tS-Disease"]
)  # fmt: skip


@pytest.mark.parametrize("format", ["iob2", "iobes", "conll"])
@given(lines=st.lists(LINES, max_size=30), ended=st.booleans(), repair=st.booleans(), block=st.integers(1, 40))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_sentences_at_once_are_those_of_line_by_line(format, lines, ended, repair, block):
    """Most sentences are read at once; line by line gives the same records, counts and problems, however the file is
    cut into blocks."""
    text = "\n".join(["a\tO", "", *lines]) + "\n" * ended

    def read(path, at_once):
        source = Source(path, format, declared=("Gene", "Disease"), rename={"Cell": "O"}, repair=repair)
        reading, records, problems = Reading(source), [], ()
        with pytest.MonkeyPatch.context() as patch:
            if at_once:
                patch.setattr(text_file, "BLOCK_BYTES", block)
            else:
                patch.setattr(iob._Pass, "_regular_sentence", lambda *_: 0)
            try:
                records.extend(reading)
            except UserError as error:
                problems = error.problems
        return records, reading.report, problems

    with TemporaryDirectory() as folder:
        path = Path(folder, "x.tsv")
        path.write_bytes(text.encode())
        assert read(path, True) == read(path, False)


def test_regular_sentences_are_read_at_once(tmp_path, monkeypatch):
    """Or the test above compared line by line with itself."""
    taken = []
    original = iob._Pass._regular_sentence
    monkeypatch.setattr(iob._Pass, "_regular_sentence", lambda *each: taken.append(original(*each)) or taken[-1])
    path = tmp_path / "x.tsv"
    path.write_text("a\tB-Gene\n\nb\tB-Gene\nc\tB-Gene\n\n" * 5)
    assert len(list(Reading(Source(path)))) == 10 and sorted(set(taken)) == [0, 1, 2]
