"""Exchanged mentions: labels move with the names, what is drawn follows from the seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.data.augment import Augmentation, by_number, corpus_names, is_plural
from biodist.data.names import read_names
from biodist.data.records import Entity, Record
from biodist.errors import UserError

NAMES = {"Disease": ["fever", "colon cancer", "tumours", "lung tumours"], "Gene": ["TP53"]}


def record(text: str, *entities: tuple[int, int, str], number: int = 1) -> Record:
    return Record(str(number), "c", number, tuple(text.split(" ")), tuple(Entity(*each) for each in entities))


def copies(*records: Record, share: float = 1.0, seed: int = 1, names: dict[str, list[str]] = NAMES) -> list[Record]:
    return list(Augmentation(share, seed, (by_number(names),)).copies(records))


def test_a_mention_becomes_another_name_of_its_type_and_number() -> None:
    drawn = {
        copies(
            record("the warm fevers of BRCA1 in asthma", (2, 3, "Disease"), (4, 5, "Gene"), (6, 7, "Disease")), seed=s
        )[0]
        for s in range(20)
    }
    texts = {" ".join(copy.tokens) for copy in drawn}
    assert texts == {
        f"the warm {plural} of TP53 in {singular}"
        for plural in ("tumours", "lung tumours")
        for singular in ("fever", "colon cancer")
    }
    for copy in drawn:
        said = [" ".join(copy.tokens[entity.start : entity.end]) for entity in copy.entities]
        assert [entity.type for entity in copy.entities] == ["Disease", "Gene", "Disease"]
        assert said[0] in ("tumours", "lung tumours") and said[1] == "TP53" and said[2] in ("fever", "colon cancer")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["Disease", "Gene", "Cell"])), max_size=5), st.integers(0, 99)
)
def test_what_stands_around_the_mentions_stays(parts: list[tuple[int, str]], seed: int) -> None:
    tokens: list[str] = []
    entities = []
    for number, (length, kind) in enumerate(parts):
        tokens += [f"w{number}"]
        if length:
            entities.append((len(tokens), len(tokens) + length, kind))
            tokens += ["x"] * length
    (*found,) = copies(record(" ".join([*tokens, "."]), *entities), seed=seed)
    assert bool(found) == any(kind != "Cell" for *_, kind in entities)
    for copy in found:
        inside = {at for entity in copy.entities for at in range(entity.start, entity.end)}
        outside = [token for at, token in enumerate(copy.tokens) if at not in inside]
        assert outside == [token for token in [*tokens, "."] if token != "x"]
        for entity, (start, end, kind) in zip(copy.entities, entities, strict=True):
            words = " ".join(copy.tokens[entity.start : entity.end])
            assert entity.type == kind and (
                words in NAMES[kind] if kind in NAMES else words == "x" + " x" * (end - start - 1)
            )


def test_the_share_of_sentences_and_the_seed() -> None:
    given = [record(f"fever number {number}", (0, 1, "Disease"), number=number) for number in range(2000)]
    half = copies(*given, share=0.5)
    assert 900 < len(half) < 1100 and half == copies(*given, share=0.5)
    assert half != copies(*given, share=0.5, seed=2)
    assert all(copy.entities[0].end - copy.entities[0].start and copy.tokens[0] != "fever" for copy in half)
    assert copies(record("nothing here at all")) == []


def test_sources_are_drawn_from_equally_often_however_many_names_they_have() -> None:
    few, many = {"Disease": ["ague"]}, {"Disease": [f"name{number}" for number in range(500)], "Gene": ["TP53"]}
    given = [
        record(f"fever number {number} in BRCA1", (0, 1, "Disease"), (4, 5, "Gene"), number=number)
        for number in range(2000)
    ]
    sources = (by_number(few), by_number(many))
    found = list(Augmentation(1.0, 1, sources).copies(given))
    drawn = [copy.tokens[0].lower() for copy in found]
    assert 900 < drawn.count("ague") < 1100 and len(set(drawn)) > 400
    assert {copy.tokens[4] for copy in found} == {"TP53"}, "a source that does not know the type is passed over"
    united = {"Disease": [*few["Disease"], *many["Disease"]]}
    assert [copy.tokens[0] for copy in copies(*given, names=united)].count("ague") < 20, "all names in one source"


def test_where_a_source_has_no_other_name_the_next_is_drawn_from() -> None:
    sources = (by_number({"Disease": ["fever"]}), by_number({"Disease": ["ague"]}))
    given = [record(f"a fever {number}", (1, 2, "Disease"), number=number) for number in range(50)]
    assert {copy.tokens[1] for copy in Augmentation(1.0, 1, sources).copies(given)} == {"ague"}


def test_a_name_with_no_other_stays_and_makes_no_copy() -> None:
    assert copies(record("TP53 binds", (0, 1, "Gene"))) == []
    assert copies(record("a kidney cell", (1, 3, "Cell"))) == []


def test_the_case_is_that_of_the_place() -> None:
    one = {"Disease": ["fever", "red fever"]}
    assert copies(record("Fever kills .", (0, 1, "Disease")), names={"Disease": ["red ague"]})[0].tokens[:2] == (
        "Red",
        "ague",
    )
    assert copies(record("A FEVER KILLS", (1, 2, "Disease")), names={"Disease": ["ague"]})[0].tokens == (
        "A",
        "AGUE",
        "KILLS",
    )
    assert copies(record("a fever kills", (1, 2, "Disease")), names=one)[0].tokens == ("a", "red", "fever", "kills")


def test_names_of_the_corpus_leave_out_those_whose_case_is_the_place_s() -> None:
    found = corpus_names(
        [
            record("Colon cancer kills .", (0, 2, "Disease")),
            record("TP53 and fever", (0, 1, "Gene"), (2, 3, "Disease")),
            record("A FEVER KILLS", (1, 2, "Disease")),
            record("a fever again", (1, 2, "Disease")),
        ]
    )
    assert found == {"Gene": ["TP53"], "Disease": ["fever"]}


@pytest.mark.parametrize(
    ("name", "plural"),
    [
        ("tumours", True),
        ("enfermedades", True),
        ("virus", False),
        ("pertussis", False),
        ("abscess", False),
        ("TP53s", False),
    ],
)
def test_plurals(name: str, plural: bool) -> None:
    assert is_plural((name,)) is plural


OBO = """format-version: 1.2
ontology: chebi

[Term]
id: CHEBI:1
name: acetic acid
synonym: "ethanoic acid" EXACT [x]
synonym: "vinegar" RELATED [x]

[Term]
id: CHEBI:2
name: old acid
is_obsolete: true

[Typedef]
id: has_part
name: has part

[Term]
id: GO:3
name: cell division
"""


def test_names_of_an_ontology(tmp_path: Path) -> None:
    path = tmp_path / "chebi.obo"
    path.write_text(OBO)
    assert read_names(path, ("Chemical",), {"CHEBI": "Chemical"}) == {"Chemical": ["acetic acid", "ethanoic acid"]}
    assert read_names(path, ("GO",), {}) == {"GO": ["cell division"]}
    with pytest.raises(UserError, match="holds no name of Disease"):
        read_names(path, ("Disease",), {})


def test_names_of_a_table_are_cut_into_words(tmp_path: Path) -> None:
    path = tmp_path / "names.tsv"
    path.write_text("Chemical\tIL-2\n\nChemical\tácido (R)-láctico\n", encoding="utf-8")
    assert read_names(path, ("Chemical",), {}) == {"Chemical": ["IL - 2", "ácido ( R ) - láctico"]}
