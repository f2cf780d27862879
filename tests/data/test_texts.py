"""Readers of texts and pairs: what was written is what is read, and every fault has its line."""

import csv
import io
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biodist.config.recipe import Columns, CorpusEntry
from biodist.data.text_file import PROBLEMS_LISTED
from biodist.data.texts import TextReading, TextSource
from biodist.errors import UserError

NLI = ("entailment", "neutral", "contradiction")
PAIR = {"sentence1": "He has no pain.", "sentence2": "He is well.", "gold_label": "neutral", "pairID": "7"}


def source(path: Path, format: str = "jsonl", task: str = "nli", columns: dict | None = None, **options) -> TextSource:
    named = CorpusEntry(path=str(path), format=format, columns=Columns(**(columns or {}))).columns_for(task)
    return TextSource(path, format, named, no_majority=task == "nli", **options)


def records(folder: Path, content: str | bytes, *arguments, **options):
    path = folder / "file.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(TextReading(source(path, *arguments, **options)))


def problems(folder: Path, content: str | bytes, *arguments, **options) -> list[str]:
    with pytest.raises(UserError) as caught:
        records(folder, content, *arguments, **options)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def lines(*rows: object) -> str:
    return "".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)


def pair(**changes: object) -> dict:
    return {**PAIR, **changes}


# --- what was written is what is read --------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30).filter(str.strip)
ROWS = st.lists(st.tuples(WORDS, WORDS, st.sampled_from(NLI)), min_size=1, max_size=8)
SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_back(folder: Path, content: str, format: str) -> list[tuple]:
    return [(*record.texts, *record.labels) for record in records(folder, content, format)]


PIECES = (
    '{"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}', '{"sentence1": 1}', "[", "\t", ",", '"', '""',
    '{"1": {"QUESTION": "q", ', '"CONTEXTS": ["c"], "final_decision": "yes"}}', "sentence1\tsentence2", "gold_label",
    "sentence1,sentence2,gold_label\n", "a,b,neutral\n", "sentence1\tsentence2\tgold_label\n", "a\tb\tentailment\n",
    "neutral", "-", "a b", "\r", "\n", "\n", "\n", "\ufeff", "\0",
)  # fmt: skip
TAKEN_FOR_ROWS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(str.encode)


@SETTINGS
@given(content=st.one_of(st.binary(max_size=300), TAKEN_FOR_ROWS))
@pytest.mark.parametrize("format", ["jsonl", "tsv", "csv", "pubmedqa"])
def test_any_bytes_give_samples_or_a_user_error(tmp_path, content, format):
    """And samples in are samples out, but for those that are counted as dropped."""
    path = tmp_path / "file.txt"
    path.write_bytes(content)
    reading = TextReading(source(path, format, "classification" if format == "pubmedqa" else "nli"))
    try:
        found = list(reading)
    except UserError as error:
        assert error.problems
    else:
        report = reading.report
        assert report.samples == len(found) == sum(report.classes.values())
        assert len(found) + report.dropped > 0


@SETTINGS
@given(rows=ROWS, ascii_only=st.booleans())
def test_json_lines(tmp_path, rows, ascii_only):
    names = ("sentence1", "sentence2", "gold_label")
    written = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=ascii_only) for row in rows]
    assert read_back(tmp_path, lines(*written), "jsonl") == rows


@SETTINGS
@given(rows=ROWS)
def test_csv(tmp_path, rows):
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerows([("sentence1", "sentence2", "gold_label"), *rows])
    # Line ends are all one inside a cell: \r\n is read as \n, like a line end between rows.
    expected = [tuple(cell.replace("\r\n", "\n") for cell in row) for row in rows]
    if not any("\r" in cell for row in expected for cell in row):  # a lone \r ends no line in the csv module's eyes
        assert read_back(tmp_path, written.getvalue(), "csv") == expected


@SETTINGS
@given(rows=ROWS)
def test_tsv_takes_quotes_for_what_they_are(tmp_path, rows):
    rows = [tuple(" ".join(cell.split()) or "x" for cell in row) for row in rows]
    text = "".join("\t".join(row) + "\n" for row in [("sentence1", "sentence2", "gold_label"), *rows])
    assert read_back(tmp_path, text, "tsv") == rows


def test_ids_lines_counts_and_dropped_pairs(tmp_path):
    path = tmp_path / "mli_dev.jsonl"
    rows = [pair(), pair(gold_label="-"), "", pair(pairID="9", gold_label="entailment", sentence2="A b c d")]
    path.write_text("\ufeff" + lines(*rows), encoding="utf-8")
    reading = TextReading(source(path, declared=NLI))
    first, last = list(reading)
    assert (first.document, first.corpus, first.line, first.labels) == ("7", "mli_dev", 1, ("neutral",))
    assert (last.document, last.line) == ("9", 4)
    report = reading.report
    assert (report.samples, report.dropped, report.classes) == (2, 1, {"entailment": 1, "neutral": 1})
    assert report.first_lines == {"entailment": 4, "neutral": 1}
    assert [(side.words, side.longest, side.longest_line) for side in report.lengths] == [(8, 4, 1), (7, 4, 4)]


def test_a_table_without_a_header_goes_by_position(tmp_path):
    columns = {"text": "3", "label": "1"}
    (record,) = records(tmp_path, "1\tx\tno pain\n", "tsv", "classification", columns)
    assert (record.texts, record.labels, record.document) == (("no pain",), ("1",), "1")
    assert records(tmp_path, '1,x,"no, pain"\n', "csv", "classification", columns)[0].texts == ("no, pain",)


def test_labels_are_renamed_whatever_json_wrote(tmp_path):
    rename = {"0": "no", "true": "yes", "-1": "-"}
    rows = [pair(gold_label=0), pair(gold_label=True), pair(gold_label=-1), pair(gold_label=" no ")]
    assert [each.labels for each in records(tmp_path, lines(*rows), rename=rename)] == [("no",), ("yes",), ("no",)]


def test_several_labels(tmp_path):
    rows = [{"text": "a", "label": written} for written in (["B", "A", "B"], [], "A", [1])]
    read = records(tmp_path, lines(*rows), "jsonl", "classification", multi_label=True)
    assert [record.labels for record in read] == [("B", "A"), (), ("A",), ("1",)]
    table = "text\tlabel\nx\tA | B, C\ny\t\n"
    read = records(tmp_path, table, "tsv", "classification", multi_label=True)
    assert [record.labels for record in read] == [("A", "B, C"), ()]


def test_quoted_cells_may_hold_lines_and_rows_keep_their_own(tmp_path):
    table = 'text,label\n"one\ntwo",a\n\nthree,b\n'
    read = records(tmp_path, table, "csv", "classification")
    assert [(record.line, record.texts[0]) for record in read] == [(2, "one\ntwo"), (5, "three")]


# --- every fault has its line ----------------------------------------------------------------------------------


def test_every_fault_of_a_file_at_once(tmp_path):
    content = lines(
        pair(gold_label="entailmnt"),
        {name: value for name, value in PAIR.items() if name != "sentence2"},
        pair(sentence1="  "),
        '{"sentence1": "cut',
        "[1, 2]",
        '{"gold_label": "neutral", "gold_label": "entailment"}',
        pair(sentence2=["a", "b"], gold_label=None),
        pair(sentence1=3.5),
        pair(gold_label="entailmnt"),
        pair(sentence2="\ud83d"),
        pair(gold_label=""),
        '{"sentence1": ' + "9" * 5000 + "}",
        "[" * 100_000,
    )
    found = problems(tmp_path, content, declared=NLI)
    assert found == [
        "file.txt:1: field gold_label: class that is not declared, here and on 1 more lines"
        " (nearest declared: entailment; add the class to data.labels or rename it with map)",
        "file.txt:2: has no field sentence2 (name the fields in columns (--columns))",
        "file.txt:3: field sentence1: is empty (fill in the text, or remove the sample)",
        "file.txt:4: is no JSON from column 15 on (write one JSON object a line)",
        "file.txt:5: is JSON, but no object (write one JSON object a line)",
        "file.txt:6: has a key twice in one object (keep one)",
        "file.txt:7: field gold_label: is null, not a label (write one label)",
        "file.txt:7: field sentence2: is a list, not a text (write a text in quotes)",
        "file.txt:8: field sentence1: is a number, not a text (write a text in quotes)",
        "file.txt:10: field sentence2: holds half a character (a lone surrogate) (write it whole)",
        "file.txt:11: field gold_label: is empty (fill in the label, or remove the sample)",
        "file.txt:12: is no JSON that can be read (write one JSON object a line)",
        "file.txt:13: is no JSON that can be read (write one JSON object a line)",
    ]
    assert not any(word in text for text in found for word in ("entailmnt", "pain", "cut"))


@pytest.mark.parametrize(
    ("content", "format", "message"),
    [
        ("sentence1\tsentence2\n", "tsv", ":1: has no column gold_label among its 2"),
        ("sentence1\tgold_label\tsentence2\tgold_label\n", "tsv", ":1: has 2 columns called gold_label"),
        ("sentence1\tsentence2\tgold_label\na\tb\n", "tsv", ":2: has 2 columns where the file began with 3"),
        ('sentence1,sentence2,gold_label\n"a,b,neutral\nc,d,neutral\n', "csv", ":2: has a quote that is not closed"),
        ('sentence1,sentence2,gold_label\n"a"x,b,neutral\n', "csv", ":2: has a quote"),
        ("sentence1,sentence2,gold_label\na,,neutral\n", "csv", ":2: column sentence2: is empty"),
        ("sentence1,sentence2,gold_label\n", "csv", ": holds no sample"),
        ("", "jsonl", ": holds no sample"),
        (lines(pair(gold_label="-")), "jsonl", ": holds no sample but those without a majority label"),
        ("{}".encode("utf-16"), "jsonl", ":1: is UTF-16, not UTF-8"),
        (lines(pair()).encode() + b'{"sentence1": "\xff"}\n', "jsonl", ":2: is not UTF-8 from byte 16"),
        (b"PK\x03\x04\0\0", "csv", ":1: is binary"),
        (b" " * (1 << 24) + b"x\n", "jsonl", ":1: line longer than 16,777,216 bytes"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, format, message):
    assert problems(tmp_path, content, format)[0].startswith("file.txt" + message)


def test_positions_and_lists_where_none_are_read(tmp_path):
    assert problems(tmp_path, "a\tb\n", "tsv", "classification", {"text": "1", "label": "3"}) == [
        "file.txt:1: has no column 3: 2 in all (give another position)"
    ]
    assert "data.multi_label reads lists" in problems(tmp_path, lines(pair(gold_label=["neutral"])))[0]
    rows = [{"text": "a", "label": written} for written in (None, {"A": 1}, [["A"]], "B|A")]
    found = problems(tmp_path, lines(*rows), "jsonl", "classification", multi_label=True, declared=("A",))
    assert [text.partition(" (")[0] for text in found] == [
        "file.txt:1: field label: is null, not a list of labels",
        "file.txt:2: field label: is an object, not a list of labels",
        "file.txt:3: field label: is a list, not a list of labels",
        "file.txt:4: field label: class that is not declared",
    ]
    cell = problems(tmp_path, "text\tlabel\nx\tA;B\n", "tsv", "classification", multi_label=True, declared=("A",))
    assert "between the labels of a cell stands |" in cell[0]


def test_the_first_problems_in_full_the_others_counted(tmp_path):
    found = problems(tmp_path, "x\n" * (PROBLEMS_LISTED + 30))
    assert len(found) == PROBLEMS_LISTED + 1 and found[-1] == "file.txt: and 30 more problems"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"absent\.jsonl: cannot be read: No such file"):
        list(TextReading(source(tmp_path / "absent.jsonl")))


@pytest.mark.parametrize("format", ["jsonl", "tsv", "csv"])
def test_memory_is_flat_in_the_corpus(tmp_path, format):
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.{format}"
        cut, text = "\t" if format == "tsv" else ",", "pain " * 40
        row = json.dumps(pair(sentence1=text)) if format == "jsonl" else cut.join((text, "b", "neutral"))
        header = "" if format == "jsonl" else cut.join(("sentence1", "sentence2", "gold_label")) + "\n"
        path.write_text(header + (row + "\n") * rows, encoding="utf-8")
        tracemalloc.start()
        for _ in TextReading(source(path, format, declared=NLI)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small = peak(200)
    assert peak(4000) < small + 400_000  # the file holds a million characters


# --- PubMedQA --------------------------------------------------------------------------------------------------

SAMPLE = {
    "QUESTION": "Is it so?",
    "CONTEXTS": ["One.", "Two."],
    "MESHES": ["Humans", "Aged, 80 and over"],
    "LONG_ANSWER": "It is.",
    "final_decision": "yes",
}


def pubmedqa(folder: Path, content: object, columns: dict | None = None, **options):
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    return records(folder, text, "pubmedqa", "classification", columns, **options)


def test_pubmedqa_is_read_by_its_lines_and_its_answer_never_fed(tmp_path):
    first, second = pubmedqa(tmp_path, {"12": SAMPLE, "34": {**SAMPLE, "final_decision": "no"}})
    assert (first.document, first.line, first.texts, first.labels) == ("12", 2, ("Is it so?", "One. Two."), ("yes",))
    assert (second.document, second.line) == ("34", 15)
    with pytest.raises(UserError, match="has no field LONG_ANSWER"):
        pubmedqa(tmp_path, {"12": SAMPLE}, {"label": "LONG_ANSWER"})


def test_mesh_terms_outside_the_list_are_counted(tmp_path):
    path = tmp_path / "ori_pqal.json"
    path.write_text(json.dumps({"1": SAMPLE, "2": {**SAMPLE, "MESHES": ["Mice"]}}), encoding="utf-8")
    named = {"label": "MESHES"}
    reading = TextReading(source(path, "pubmedqa", "classification", named, declared=("Humans",), multi_label=True))
    assert [record.labels for record in reading] == [("Humans",), ()]
    assert (reading.report.undeclared, reading.report.classes) == (2, {"Humans": 1})


def test_every_fault_of_a_pubmedqa_file_at_once(tmp_path):
    broken = json.dumps({**SAMPLE, "CONTEXTS": []})
    twice = '{"QUESTION": "a", "QUESTION": "b"}'
    whole = json.dumps(SAMPLE)
    content = f'{{\n"1": {whole},\n"1": {whole},\n"2": {broken},\n"3": [],\n"4": {twice},\n"5": {{"CONTEXTS": [1]}} x'
    with pytest.raises(UserError) as caught:
        pubmedqa(tmp_path, content)
    assert [
        str(problem).removeprefix(f"{tmp_path}/file.txt:").partition(" (")[0] for problem in caught.value.problems
    ] == [
        "3: has an id that occurred before",
        "4: field CONTEXTS: is empty",
        "5: is no object, or one with a key twice",
        "6: is no object, or one with a key twice",
        "7: has no field final_decision",
        "7: has no field QUESTION",
        "7: field CONTEXTS: is a list, not a text",
        "7: is no JSON from column 24 on",
    ]


@pytest.mark.parametrize("content", ["", "[]", "{", "{} {}", "{1: 2}", '{"1" 2}', "[" * 9999])
def test_what_is_no_pubmedqa_file(tmp_path, content):
    with pytest.raises(UserError, match=r"file\.txt"):
        pubmedqa(tmp_path, content)
