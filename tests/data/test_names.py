"""Files of names to exchange mentions for: tables and OBO files, and whatever else is named so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biodist.data.names import read_names
from biodist.errors import UserError

LABELS = ("Chemical", "Cell")
ONE_FILE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8)
LINES = st.lists(
    st.sampled_from(
        ["[Term]", "[Typedef]", "id: CHEBI:1", "id: CL:2", "id:", "name: red acid", 'synonym: "acid" EXACT []',
         'synonym: "', "is_obsolete: true", "Chemical\tacid", "Cell\t", "\tacid", "Gene\tp53", "a\tb\tc", "", "\ufeff",
         "\0"]
    ),
    max_size=12,
).map(lambda lines: "\n".join(lines).encode())  # fmt: skip


@ONE_FILE
@given(content=st.one_of(st.binary(max_size=300), LINES))
@pytest.mark.parametrize("name", ["names.tsv", "names.obo"])
def test_any_bytes_give_names_or_a_user_error(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        found = read_names(path, LABELS, {"CHEBI": "Chemical"})
    except UserError as error:
        assert error.problems
    else:
        assert found and set(found) <= set(LABELS)
        assert all(word for names in found.values() for name in names for word in name.split(" "))


@ONE_FILE
@given(names=st.lists(NAMES, min_size=1, max_size=6))
def test_names_in_are_names_out(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "names.tsv").write_text("".join(f"Cell\t{name}\n" for name in names), encoding="utf-8")
    terms = "".join(f"[Term]\nid: CL:{number}\nname: {name}\n\n" for number, name in enumerate(names))
    (tmp_path / "names.obo").write_text(f"format-version: 1.4\n\n{terms}", encoding="utf-8")
    table, ontology = (read_names(tmp_path / f"names.{kind}", LABELS, {"CL": "Cell"}) for kind in ("tsv", "obo"))
    assert table == ontology and ["".join(name.split(" ")) for name in table["Cell"]] == names
