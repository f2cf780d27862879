"""What each reader says of small files with known faults: the file, the line or document, the rule, the next step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from biodist.config.recipe import SpanFields
from biodist.data.formats.reading import DocumentReading
from biodist.data.formats.source import DocumentSource
from biodist.data.records import Document, Mention
from biodist.errors import Problem, UserError

TEXT = "APC in colon cancer"
PUBTATOR = f"7|t|{TEXT}\n7|a|Seen.\n7\t0\t3\tAPC\tGene\t324\n7\t7\t19\tcolon cancer\tDisease\tD1\n7\tCID\tD1\t324\n\n"
BIOC = """<?xml version="1.0"?><collection><source/><date/><key/>
<document><id>7</id>
<passage><infon key="type">title</infon><offset>0</offset><text>APC in</text></passage>
<passage><offset>7</offset><sentence><offset>7</offset><text>colon cancer</text>
<annotation id="1"><infon key="type">Disease</infon>
<location offset="7" length="12"/><text>colon cancer</text></annotation>
</sentence></passage><relation id="R"><node refid="1" role="x"/></relation></document></collection>"""


def read(path: Path, format: str, **options: Any) -> tuple[DocumentReading, list[Document]]:
    reading = DocumentReading(DocumentSource(path, format, "c", **options))
    return reading, list(reading)


def problems(path: Path, format: str, **options: Any) -> tuple[Problem, ...]:
    with pytest.raises(UserError) as refusal:
        read(path, format, **options)
    return refusal.value.problems


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def spans(*entities: object, text: str = TEXT, **more: object) -> str:
    return json.dumps({"id": "7", "text": text, "entities": list(entities), **more}) + "\n"


def test_pubtator(tmp_path: Path) -> None:
    reading, (document,) = read(written(tmp_path, "x", PUBTATOR), "pubtator")
    assert document.text == TEXT + "\nSeen." and document.line == 1
    assert document.mentions == (Mention(((0, 3),), "Gene"), Mention(((7, 19),), "Disease"))
    assert reading.report.passed_over == {"relations": 1}


def test_documents_of_pubtator_without_a_blank_line_between(tmp_path: Path) -> None:
    _, documents = read(written(tmp_path, "x", PUBTATOR.rstrip("\n") + "\n8|t|Next\n8\t0\t4\tNext\tGene\n"), "pubtator")
    assert [each.document for each in documents] == ["7", "8"] and len(documents[1].mentions) == 1


def test_a_bioc_document_may_be_the_root_behind_a_comment(tmp_path: Path) -> None:
    alone = "<?xml version='1.0'?><!-- of one -->" + BIOC[BIOC.index("<document>") : BIOC.index("</collection>")]
    _, (document,) = read(written(tmp_path, "x", alone), "bioc")
    assert (document.document, document.text) == ("7", "APC in\ncolon cancer")


def test_an_offset_that_is_off_names_file_line_document_and_place(tmp_path: Path) -> None:
    path = written(tmp_path, "x", PUBTATOR.replace("7\t7\t19", "7\t8\t20"))
    (found,) = problems(path, "pubtator")
    assert found.where == f"{path}:4" and "document 7: mention at 8 to 20" in found.what
    assert "not the text that the file says it is" in found.what and "colon" not in str(found)


@pytest.mark.parametrize(("start", "end", "unit"), [(5, 8, "UTF-16 units"), (8, 11, "UTF-8 bytes")])
def test_offsets_in_another_unit_are_recognised(tmp_path: Path, start: int, end: int, unit: str) -> None:
    entity = {"start": start, "end": end, "type": "Gene", "text": "APC"}
    (found,) = problems(written(tmp_path, "x", spans(entity, text="𝔸é: APC was seen")), "jsonl")
    assert unit in found.do


@pytest.mark.parametrize(
    ("entity", "said"),
    [
        ({"start": 3, "end": 3, "type": "G"}, "holds no character"),
        ({"start": 0, "end": 99, "type": "G"}, "lies outside the text of 19 characters"),
        ({"start": 0, "end": 3}, "entity 1 cannot be read"),
        ({"start": True, "end": 3, "type": "G"}, "entity 1 cannot be read"),
        ({"start": "0", "end": 3, "type": "G"}, "entity 1 cannot be read"),
        ({"start": 0, "end": "3", "type": "G"}, "entity 1 cannot be read"),
        ({"pieces": [[0, 3, None]], "type": "G"}, "entity 1 cannot be read"),
        ({"pieces": [[0, 3], [2, 5]], "type": "G"}, "pieces that overlap"),
        ({"start": 0, "end": 3, "type": " "}, "without a type"),
    ],
)
def test_faults_of_a_span(tmp_path: Path, entity: object, said: str) -> None:
    path = written(tmp_path, "x.jsonl", "\n" + spans(entity))
    (found,) = problems(path, "jsonl")
    assert said in found.what and found.where == f"{path}:2" and found.do


def test_every_mention_is_counted_somewhere(tmp_path: Path) -> None:
    good, bad = {"start": 0, "end": 3, "type": "G"}, {"start": 0, "end": 99, "type": "G"}
    path = written(tmp_path, "x", spans(good, good, {"start": 4, "end": 6, "type": "X"}) + spans(good, bad) + spans())
    reading = DocumentReading(DocumentSource(path, "jsonl", rename={"X": "O"}))
    with pytest.raises(UserError):
        list(reading)
    report = reading.report
    assert (report.found, report.mentions, report.repeated, report.left_out, report.faulty) == (5, {"G": 1}, 1, 1, 2)


def test_fields_have_other_names_and_entities_are_lists(tmp_path: Path) -> None:
    path = written(tmp_path, "x", json.dumps({"pmid": 3, "body": TEXT, "label": [[0, 3, "Gene"]]}))
    fields = SpanFields(id="pmid", text="body", entities="label")
    _, (document,) = read(path, "jsonl", fields=fields)
    assert document.document == "3" and document.mentions == (Mention(((0, 3),), "Gene"),)
    assert "has no field text" in problems(path, "jsonl")[0].what


def test_bioc_keeps_the_offsets_of_passages_and_sentences(tmp_path: Path) -> None:
    reading, (document,) = read(written(tmp_path, "x.xml", BIOC), "bioc")
    assert document.text == "APC in\ncolon cancer" and document.line == 2
    assert document.mentions == (Mention(((7, 19),), "Disease"),) and reading.report.passed_over == {"relations": 1}


def test_bioc_passages_that_go_back_are_refused(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "x.xml",
        BIOC.replace("<offset>7</offset><sentence><offset>7<", "<offset>3</offset><sentence><offset>3<"),
    )
    (found,) = problems(path, "bioc")
    assert found.where == f"{path}:2" and "a passage begins at 3, before the end" in found.what


def test_bioc_that_ends_early_names_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, "x.xml", BIOC[: BIOC.index("</sentence>")])
    (found,) = problems(path, "bioc")
    assert found.where.startswith(f"{path}:") and "no XML" in found.what
    as_json = written(tmp_path, "x.json", '{"documents": [\n{"passages": [')
    assert problems(as_json, "bioc")[0].where == f"{as_json}:2"


def test_an_external_entity_is_not_followed(tmp_path: Path) -> None:
    secret = written(tmp_path, "secret", "zzpatient")
    attack = f'<!DOCTYPE collection [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    path = written(tmp_path, "x.xml", BIOC.replace("<collection>", f"{attack}<collection>").replace("APC in", "&x;"))
    try:
        _, documents = read(path, "bioc")
    except UserError as refusal:
        assert "zzpatient" not in str(refusal)
    else:
        assert all("zzpatient" not in document.text for document in documents)


def test_what_pubtator_3_exports_and_documents_a_line(tmp_path: Path) -> None:
    document = {"id": "7", "passages": [{"offset": 0, "text": TEXT, "annotations": [
        {"infons": {"type": "Gene"}, "locations": [{"offset": 0, "length": 3}]}]}]}  # fmt: skip
    for name, text in (
        ("a", json.dumps({"PubTator3": [document]})),
        ("b", json.dumps(document) + "\n" + json.dumps(document)),
    ):
        _, documents = read(written(tmp_path, name, text), "bioc")
        assert documents[-1].mentions == (Mention(((0, 3),), "Gene"),)
    assert len(documents) == 2 and documents[1].line == 2


def test_brat(tmp_path: Path) -> None:
    written(tmp_path, "b.txt", TEXT)
    written(
        tmp_path,
        "b.ann",
        "T1\tGene 0 3\tAPC\nT2\tDisease 7 12;13 19\tcolon cancer\nR1\tx Arg1:T1 Arg2:T2\n#1\tNote T1\thm\n",
    )
    written(tmp_path, "a.txt", "Nothing")
    written(tmp_path, "a.ann", "")
    reading, documents = read(tmp_path, "brat")
    assert [each.document for each in documents] == ["a", "b"]
    assert documents[1].mentions[1] == Mention(((7, 12), (13, 19)), "Disease")
    assert reading.report.passed_over == {"notes": 1, "relations": 1}
    assert read(tmp_path / "b.ann", "brat")[1] == [documents[1]]


def test_faults_of_brat_name_the_file_of_the_annotations(tmp_path: Path) -> None:
    written(tmp_path, "a.txt", TEXT)
    written(tmp_path, "a.ann", "T1\tGene 0 x\tAPC\nQ\n")
    written(tmp_path, "b.txt", TEXT)
    written(tmp_path, "b.ann", "T1\tGene 0 3\tcolon\n")
    written(tmp_path, "c.txt", TEXT)
    found = problems(tmp_path, "brat")
    wheres = [each.where for each in found]
    assert wheres == [
        f"{tmp_path / 'a.ann'}:1",
        f"{tmp_path / 'a.ann'}:2",
        f"{tmp_path / 'b.ann'}:1",
        str(tmp_path / "c.txt"),
    ]
    (tmp_path / "c.ann").write_bytes(b"\xff")
    assert f"{tmp_path / 'c.ann'}:1" in [each.where for each in problems(tmp_path, "brat")]


def test_bigbio_from_a_saved_folder_and_from_parquet(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    entity = {"id": "e", "type": "Gene", "text": ["APC"], "offsets": [[0, 3]], "normalized": []}
    passages = [
        {"id": "p", "type": "t", "text": ["APC in"], "offsets": [[0, 6]]},
        {"id": "q", "type": "a", "text": ["mice"], "offsets": [[7, 11]]},
    ]
    row = {"id": "0", "document_id": "7", "passages": passages, "entities": [entity], "relations": [{"id": "r"}]}
    data = Dataset.from_list([row])
    DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "saved")
    data.to_parquet(tmp_path / "x.parquet")
    from biodist.data.formats.source import Hub

    for path, hub in ((tmp_path / "saved", Hub(part="test")), (tmp_path / "x.parquet", Hub())):
        reading, (document,) = read(path, "bigbio", hub=hub)
        assert document == Document("7", "c", 1, "APC in\nmice", (Mention(((0, 3),), "Gene"),))
        assert reading.report.passed_over == {"relations": 1}
    assert "part is one of train, test" in problems(tmp_path / "saved", "bigbio")[0].do


def test_a_brat_document_without_its_other_half_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.ann").write_text("")
    found = [(Path(each.where).name, each.what) for each in problems(tmp_path, "brat")]
    assert found == [("a.txt", "has no a.ann beside it"), ("b.ann", "has no b.txt beside it")]


def test_texts_without_annotations(tmp_path: Path) -> None:
    path = written(tmp_path, "note.txt", "One.\n\nTwo.")
    assert [each.text for each in read(path, "text")[1]] == ["One.\n\nTwo."]
    assert [(each.document, each.text) for each in read(path, "lines")[1]] == [("1", "One."), ("3", "Two.")]
    assert [each.document for each in read(tmp_path, "text")[1]] == ["note"]


@pytest.mark.parametrize("format", ["pubtator", "jsonl"])
def test_memory_holds_one_document(tmp_path: Path, format: str) -> None:
    """Streaming: the second half of a file costs no more than the first."""
    import tracemalloc

    def peak(documents: int) -> int:
        text = f"{TEXT} " * 50
        one = f"7|t|{text}\n\n" if format == "pubtator" else spans({"start": 0, "end": 3, "type": "G"}, text=text)
        path = written(tmp_path, f"{documents}", one * documents)
        tracemalloc.start()
        for _ in DocumentReading(DocumentSource(path, format)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)  # imports
    assert peak(2000) < peak(200) + 300_000  # the file holds two million characters


def test_bioc_of_many_documents_is_let_go(tmp_path: Path) -> None:
    import tracemalloc

    def peak(documents: int) -> int:
        body = BIOC[BIOC.index("<document>") : BIOC.index("</collection>")]
        path = written(tmp_path, f"{documents}.xml", "<collection>" + (body + "\n") * documents + "</collection>")
        tracemalloc.start()
        for _ in DocumentReading(DocumentSource(path, "bioc")):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(1500) < peak(150) + 300_000
