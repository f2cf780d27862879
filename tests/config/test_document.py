"""Reading YAML: text and lines in, every fault a UserError with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.config.document import MAX_BYTES, Document, parse_document, read_document
from biodist.errors import UserError


def refusal(text: str) -> str:
    with pytest.raises(UserError) as caught:
        parse_document(text, "r.yaml")
    return str(caught.value)


def test_scalars_stay_the_text_that_was_written() -> None:
    text = "a: 3e-5\nb: no\nc: 1:30\nd: 010\ne: '7'\nf: 2024-01-02\ng: null\nh: ~\ni:\nj: 'null'\nk: [1, {x: y}]\n"
    assert parse_document(text, "r.yaml").values == {
        "a": "3e-5",
        "b": "no",
        "c": "1:30",
        "d": "010",
        "e": "7",
        "f": "2024-01-02",
        "g": None,
        "h": None,
        "i": None,
        "j": "null",
        "k": ["1", {"x": "y"}],
    }


def test_every_key_knows_its_line() -> None:
    document = parse_document("train:\n  epochs: 3\n\ndata:\n  train:\n  - path: a\n  - path: b\n", "r.yaml")
    assert document.place(("train", "epochs")) == "r.yaml:2 train.epochs"
    assert document.place(("data", "train", 1, "path")) == "r.yaml:7 data.train.1.path"


def test_a_missing_key_is_placed_where_it_would_go() -> None:
    document = parse_document("x: 1\ntrain:\n  epochs: 3\n", "r.yaml")
    assert document.place(("train", "seed")) == "r.yaml:2 train.seed"
    assert document.place(("model",)) == "r.yaml model"


def test_duplicate_keys_are_all_found_and_the_first_value_holds() -> None:
    document = parse_document("a: 1\nb: {c: 1, c: 2}\na: 3\n", "r.yaml")
    assert [str(problem) for problem in document.problems] == [
        "r.yaml:2 b.c: is already on line 2 (keep one of the two)",
        "r.yaml:3 a: is already on line 1 (keep one of the two)",
    ]
    assert document.values == {"a": "1", "b": {"c": "1"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r.yaml: is empty"),
        ("# only a comment\n", "r.yaml: is empty"),
        ("- a\n- b\n", "r.yaml:1: must be a mapping (key: value), but is a list"),
        ("hello", "r.yaml:1: must be a mapping (key: value), but is a single value"),
        ("a:\n\tb: 1\n", "r.yaml:2: a tab stands where YAML wants spaces (indent with spaces)"),
        ("a: 1\n---\nb: 2\n", "r.yaml:2: a second document begins here (keep one document a file)"),
        ("a: &x 1\nb: *x\n", "r.yaml:1: anchors (&) and aliases (*) are not read (write the value out)"),
        ("a: 1\nb: \x07\n", "r.yaml:2: holds the control character U+0007"),
        ("a: [1, 2\nb: 3\n", "r.yaml:2: is not YAML"),
        ("a: b: c\n", "r.yaml:1: is not YAML"),
        ("a: " + "[" * 5000 + "]" * 5000, "r.yaml:1: is nested more than 16 levels deep"),
    ],
)
def test_what_is_no_recipe_file_is_refused_with_its_line(text: str, said: str) -> None:
    assert refusal(text).startswith(said)


def test_an_alias_bomb_is_refused_before_it_is_built() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "anchors" in refusal("\n".join(lines))


@pytest.mark.parametrize("text", ["a: !!python/object:os.system x\n", "a: !!int '3'\n", "a: !mine 3\n"])
def test_tags_are_refused(text: str) -> None:
    (problem,) = parse_document(text, "r.yaml").problems
    assert problem.where == "r.yaml:1 a" and "is not read" in problem.what


@pytest.mark.parametrize("text", ["[a, b]: 1\n", "~: 1\n", "? {a: b}\n: 1\n"])
def test_keys_must_be_text(text: str) -> None:
    (problem,) = parse_document(text, "r.yaml").problems
    assert problem.where == "r.yaml:1" and problem.what.startswith("a key must be text")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\n\x00\x01", ":2: is a binary file"),
        (b"a: 1\nb: 2\nc: caf\xe9\n", ":3: is not UTF-8"),
        (b"a: " + b"x" * MAX_BYTES, f"but at most {MAX_BYTES} are read"),
    ],
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"r\.yaml") as caught:
        read_document(path)
    assert said in str(caught.value)


def test_a_byte_order_mark_and_crlf_are_read(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: 2\r\n")
    document = read_document(path, "r.yaml")
    assert document.values == {"a": "1", "b": {"c": "2"}}
    assert document.place(("b", "c")) == "r.yaml:3 b.c"


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a folder"):
        read_document(tmp_path)


yaml_like = st.text(st.sampled_from("ab:-[]{}&*!|>'\"#%,?~ \n\t\\.3e"), max_size=40) | st.text(max_size=40)


@given(yaml_like)
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_document_or_a_user_error(text: str) -> None:
    try:
        document = parse_document(text, "r.yaml")
    except UserError as error:
        assert all(problem.where.startswith("r.yaml") for problem in error.problems)
    else:
        assert isinstance(document, Document) and isinstance(document.values, dict)


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_document_or_a_user_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(read_document(path), Document)
    except UserError as error:
        assert error.problems
