"""Augmentation: copies of training sentences in which mentions are exchanged for other names of their type.

As the CRAFT models were trained (a fifth of the mentions, names from ontologies). A copy keeps the sentence around its
mentions, its labels are moved with the names. What is drawn is a function of the seed, the corpus and the sentence's
number: of nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from biodist.data.records import Entity, Record

Name = str  # its words, a space between each two


@dataclass(frozen=True)
class NamesOfType:
    """The names of one entity type, each once: those that look like plurals, and the others."""

    plural: tuple[Name, ...]
    singular: tuple[Name, ...]

    def like(self, words: tuple[str, ...]) -> tuple[Name, ...]:
        """Names of the same number as these words; all of them where there are no others."""
        same, other = (self.plural, self.singular) if is_plural(words) else (self.singular, self.plural)
        return same if any(name != " ".join(words) for name in same) else same + other


@dataclass(frozen=True)
class Augmentation:
    """Exchanges mentions. ``share`` of them are drawn, 0 to 1; a sentence with a drawn one gets a copy.

    ``names`` by type, of each source: those that know the type are drawn from equally often, however many names they
    have.
    """

    share: float
    seed: int
    names: tuple[Mapping[str, NamesOfType], ...]

    def copies(self, records: Iterable[Record]) -> Iterator[Record]:
        """The copies of one corpus's sentences, in their order."""
        for number, record in enumerate(records, start=1):
            key = f"{self.seed}\0{record.corpus}\0{number}"
            copy = self._exchanged(record, key)
            if copy is not None:
                yield copy

    def _exchanged(self, record: Record, key: str) -> Record | None:
        """The sentence with another name for each mention that is drawn and has one; None where none is."""
        tokens: list[str] = []
        entities = []
        at, exchanged = 0, False
        is_capitals = not any(map(_has_lower, record.tokens))
        for number, entity in enumerate(sorted(record.entities)):
            own = record.tokens[entity.start : entity.end]
            words = self._drawn(own, entity.type, f"{key}\0{number}")
            tokens += record.tokens[at : entity.start]
            if words is not None:
                exchanged = True
                own = _in_case(words, is_capitals, entity.start == 0)
            entities.append(Entity(len(tokens), len(tokens) + len(own), entity.type))
            tokens += own
            at = entity.end
        tokens += record.tokens[at:]
        if not exchanged:
            return None
        return replace(record, tokens=tuple(tokens), entities=tuple(entities), offsets=None)

    def _drawn(self, own: tuple[str, ...], kind: str, key: str) -> tuple[str, ...] | None:
        """Another name of the type; None where the mention is not drawn, or there is no other."""
        sources = [names[kind] for names in self.names if kind in names]
        if not sources or _fraction(f"{key}\0drawn") >= self.share:
            return None
        first = int(_fraction(f"{key}\0source") * len(sources))
        others = (_other(source.like(own), own, _fraction(key)) for source in (*sources[first:], *sources[:first]))
        return next((words for words in others if words is not None), None)


def _other(choices: tuple[Name, ...], own: tuple[str, ...], drawn: float) -> tuple[str, ...] | None:
    """The drawn one of a source's names, or where that is the mention itself the next one."""
    first = int(drawn * len(choices))
    for step in range(min(2, len(choices))):  # names are different: of two at most one is the mention itself
        words = tuple(choices[(first + step) % len(choices)].split(" "))
        if words != own:
            return words
    return None


def corpus_names(records: Iterable[Record]) -> dict[str, list[Name]]:
    """The mentions of training sentences by type, each name once, in order of first use.

    A name that begins its sentence, or stands among capitals, may owe its case to that: it is left out.
    """
    found: dict[str, dict[Name, None]] = {}
    for record in records:
        is_capitals = not any(map(_has_lower, record.tokens))
        for entity in record.entities:
            words = record.tokens[entity.start : entity.end]
            if not is_capitals and not (entity.start == 0 and words[0].istitle()):
                found.setdefault(entity.type, {})[" ".join(words)] = None
    return {kind: list(names) for kind, names in found.items()}


def by_number(names: Mapping[str, Iterable[Name]]) -> dict[str, NamesOfType]:
    """Names by type, plurals apart."""
    told: dict[str, tuple[list[Name], list[Name]]] = {}
    for kind, of_type in names.items():
        plural, singular = told.setdefault(kind, ([], []))
        for name in dict.fromkeys(of_type):
            (plural if is_plural(tuple(name.split(" "))) else singular).append(name)
    return {kind: NamesOfType(tuple(plural), tuple(singular)) for kind, (plural, singular) in told.items()}


def is_plural(words: tuple[str, ...]) -> bool:
    """Whether a name looks like a plural, in English or Spanish: its last word is small letters with an s behind."""
    last = words[-1]
    return len(last) > 3 and last.isalpha() and last.islower() and last[-1] == "s" and last[-2] not in "sui"


def _in_case(words: tuple[str, ...], is_capitals: bool, begins: bool) -> tuple[str, ...]:
    """The name as it is written in a sentence of capitals, or at a sentence's beginning."""
    if is_capitals:
        return tuple(word.upper() for word in words)
    if begins and words[0].isalpha() and words[0].islower():
        return (words[0].capitalize(), *words[1:])
    return words


def _has_lower(word: str) -> bool:
    return any(letter.islower() for letter in word)


def _fraction(key: str) -> float:
    """A number from 0 to 1, 1 excluded, as if drawn."""
    digest = hashlib.sha256(f"augment\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "little") / (1 << 48)
