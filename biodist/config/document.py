"""A YAML file as it was written: every scalar is text, every key knows its line.

YAML's own guesses (`3e-5` is text, `no` is false, `1:30` is ninety) never apply: a value stays the text that was
written, only an empty value, `null` or `~` is null, and the schema makes it a number or a switch. Refused: duplicate
keys, anchors and aliases, tags, several documents in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from biodist.errors import Problem, UserError

NULL_TAG = "tag:yaml.org,2002:null"
MAX_BYTES = 256_000
MAX_DEPTH = 16  # a recipe has six levels, a profile two

KeyPath = tuple[str | int, ...]


def dotted(path: KeyPath) -> str:
    """`("data", "train", 0)` as a person writes it: `data.train.0`."""
    return ".".join(str(part) for part in path)


@dataclass(frozen=True)
class Document:
    """The values of a file (nested dicts and lists of text and None) and where each of them was written.

    ``origins`` holds, for the keys that somebody wrote, `file:line` or `override key=value`; ``problems`` what is
    wrong without stopping the reading: duplicate keys and the like.
    """

    source: str
    values: dict[str, Any]
    origins: Mapping[KeyPath, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def place(self, path: KeyPath) -> str:
        """Where a person finds this key, or where it would have to be added."""
        for length in range(len(path), 0, -1):
            origin = self.origins.get(path[:length])
            if origin is not None:
                is_named = origin.startswith("override ") and length == len(path)
                return origin if is_named else f"{origin} {dotted(path)}"
        return f"{self.source} {dotted(path)}".rstrip()


def read_document(path: Path, source: str | None = None) -> Document:
    """Reads a YAML file whose top level is a mapping.

    ``source`` is how messages name it; the path when absent. Raises UserError for a file that is missing, binary,
    not UTF-8, empty, too large, or not one YAML mapping.
    """
    source = source or str(path)
    try:
        if path.is_dir():
            raise UserError(Problem(source, "is a folder, not a YAML file", "name the file in it"))
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(Problem(source, f"cannot be read: {reason}", "check the path and its permissions")) from error
    return parse_document(_decoded(content, source), source)


def parse_document(text: str, source: str) -> Document:
    """The same from text. Raises UserError."""
    node = _composed(text, source)
    if node is None:
        raise UserError(Problem(source, "is empty", "`biodist recipes` and `biodist profiles` list examples"))
    if not isinstance(node, yaml.MappingNode):
        raise UserError(Problem(f"{source}:{_line(node)}", "must be a mapping (key: value), but is " + _kind(node)))
    reading = _Reading(source)
    values = reading.mapping(node, ())
    return Document(source, values, reading.origins, tuple(reading.problems))


def parse_flow(text: str, source: str) -> Any:
    """One value as an override writes it: `[a, b]`, `{a: b}` and quoted text as YAML reads them, else the text.

    Raises UserError where the brackets or quotes do not close.
    """
    text = text.strip()
    if text in ("", "~", "null"):
        return None
    if text[0] not in "[{\"'":
        return text
    reading = _Reading(source)
    try:
        value = reading.value(_composed(text, source), ())
    except UserError as error:
        raise UserError(_without_line(error.problems, source)) from error
    if reading.problems:
        raise UserError(_without_line(reading.problems, source))
    return value


def _without_line(problems: Iterable[Problem], source: str) -> list[Problem]:
    return [Problem(source, problem.what, problem.do) for problem in problems]


class _TextLoader(yaml.SafeLoader):
    """Composes nodes whose plain scalars are text, or null."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag == NULL_TAG]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Reading:
    """Walks the nodes of one document, collecting origins and problems."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.origins: dict[KeyPath, str] = {}
        self.problems: list[Problem] = []

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, value, line in self._keys(node, path):
            if key in lines:
                place = f"{self.source}:{line} {dotted((*path, key))}"
                self.problems.append(Problem(place, f"is already on line {lines[key]}", "keep one of the two"))
                continue
            lines[key] = line
            self.origins[(*path, key)] = f"{self.source}:{line}"
            values[key] = self.value(value, (*path, key))
        return values

    def value(self, node: yaml.Node | None, path: KeyPath) -> Any:
        if node is None:
            return None
        self._refuse_tag(node, path)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for number, item in enumerate(node.value):
                self.origins[(*path, number)] = f"{self.source}:{_line(item)}"
                items.append(self.value(item, (*path, number)))
            return items
        return None if node.tag == NULL_TAG else node.value

    def _keys(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[tuple[str, yaml.Node, int]]:
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != NULL_TAG:
                yield key.value, value, _line(key)
            else:
                place = f"{self.source}:{_line(key)} {dotted(path)}".rstrip()
                self.problems.append(Problem(place, "a key must be text, but is " + _kind(key)))

    def _refuse_tag(self, node: yaml.Node, path: KeyPath) -> None:
        if not node.tag.startswith("tag:yaml.org,2002:") or node.tag.rsplit(":", 1)[1] not in _PLAIN_TAGS:
            place = f"{self.source}:{_line(node)} {dotted(path)}".rstrip()
            self.problems.append(Problem(place, f"the tag {node.tag} is not read", "remove it: the schema gives types"))


_PLAIN_TAGS = ("str", "null", "map", "seq")


def _composed(text: str, source: str) -> yaml.Node | None:
    try:
        _refuse_events(text, source)
        return yaml.compose(text, Loader=_TextLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"holds the control character U+{ord(text[error.position]):04X}"
        raise UserError(Problem(f"{source}:{line}", what, "the file must be plain text: remove it")) from error
    except yaml.MarkedYAMLError as error:
        raise UserError(_syntax_problem(error, source)) from error


def _refuse_events(text: str, source: str) -> None:
    # Before composing, which recurses: neither depth nor repetition can then take the process down.
    depth = 0
    for event in yaml.parse(text, Loader=_TextLoader):
        place = f"{source}:{_line(event)}"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UserError(Problem(place, "anchors (&) and aliases (*) are not read", "write the value out"))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UserError(Problem(place, f"is nested more than {MAX_DEPTH} levels deep", "check the brackets"))


def _syntax_problem(error: yaml.MarkedYAMLError, source: str) -> Problem:
    what = error.problem or "is not YAML"
    mark = error.problem_mark or error.context_mark
    place = f"{source}:{mark.line + 1}" if mark else source
    if "'\\t'" in what:
        return Problem(place, "a tab stands where YAML wants spaces", "indent with spaces")
    if "single document" in (error.context or ""):
        return Problem(place, "a second document begins here", "keep one document a file")
    column = f", column {mark.column + 1}" if mark else ""
    return Problem(place, f"is not YAML: {what}{column}", "check indentation, colons, quotes and brackets")


def _decoded(content: bytes, source: str) -> str:
    if len(content) > MAX_BYTES:
        raise UserError(Problem(source, f"has {len(content)} bytes, but at most {MAX_BYTES} are read"))
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UserError(Problem(f"{source}:{line}", "is a binary file (a zero byte)", "name a YAML file"))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(Problem(f"{source}:{line}", "is not UTF-8", "save the file as UTF-8")) from error


def _line(place: yaml.Node | yaml.Event) -> int:
    return int(place.start_mark.line) + 1 if place.start_mark else 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "empty" if node.tag == NULL_TAG else "a single value"
