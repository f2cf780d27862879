"""Sentences: clauses put together from phrases, filled with names, tagged in IOB2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from biodist.data.generate import phrases
from biodist.data.generate.draw import Draw
from biodist.data.generate.names import Name, Names
from biodist.data.generate.splits import Split, owner

Tagged = tuple[str, str]  # token, tag
Sentence = tuple[Tagged, ...]
Piece = tuple[str, str]  # a phrase, and the kind of the names in its {x}

_KIND_WEIGHTS: Final = (("Disease", 5), ("Chemical", 5), ("Gene", 5), ("Species", 4), ("Cells", 1.3), ("Trial", 1.3))


class Sentences:
    """Draws sentences of one split: names and clause patterns that no other split has."""

    def __init__(self, split: Split, draw: Draw):
        self._split = split
        self._draw = draw
        self._names = Names(split, draw)

    def sentence(self) -> Sentence:
        draw = self._draw
        tagged = self._filled(draw.one(phrases.OPENINGS), "") if draw.chance(0.5) else []
        form = draw.weighted((("one", 6), ("two", 4), ("defined", 2)))
        if form == "defined":
            tagged += self._defined()
        else:
            tagged += self._clause()
        if form == "two":
            tagged += self._filled(draw.one(phrases.LINKS), "") + self._clause()
        if draw.chance(0.35):
            tagged += self._filled(draw.one(phrases.CLOSINGS), "")
        return _capitalised((*tagged, (".", "O")))

    # --- clauses

    def _clause(self) -> list[Tagged]:
        """One clause whose pattern this split owns."""
        make = self._draw.weighted(((self._predicated, 4), (self._apposed, 3), (self._listed, 2), (self._related, 5)))
        while True:
            pieces = make()
            if self._owns(pieces):
                return [tagged for piece, kind in pieces for tagged in self._filled(piece, kind)]

    def _kind(self) -> str:
        return self._draw.weighted(_KIND_WEIGHTS)

    def _predicated(self) -> list[Piece]:
        kind, draw = self._kind(), self._draw
        predicate = draw.one(phrases.PREDICATES[kind])
        if draw.chance(0.6):
            return [(draw.one(phrases.SUBJECTS), kind), (predicate, kind)]
        verb, rest = predicate.split(" ", 1)
        return [(draw.one(phrases.PLURAL_SUBJECTS), kind), (f"{phrases.PLURAL_VERBS[verb]} {rest}", kind)]

    def _apposed(self) -> list[Piece]:
        kind, draw = self._kind(), self._draw
        return [("{x} ,", kind), (draw.one(phrases.APPOSITIONS[kind]) + " ,", kind), (draw.one(phrases.NEUTRAL), kind)]

    def _listed(self) -> list[Piece]:
        kind = self._kind()
        return [(self._draw.one(phrases.LISTS[kind]), kind), (self._draw.one(phrases.LIST_TAILS), kind)]

    def _related(self) -> list[Piece]:
        first, second, draw = self._kind(), self._kind(), self._draw
        return [
            (draw.one(phrases.OBJECTS[first]), first),
            (draw.one(phrases.VERBS), ""),
            (draw.one(phrases.OBJECTS[second]), second),
        ]

    def _defined(self) -> list[Tagged]:
        """A name with its abbreviation in parentheses, and a second clause that uses the abbreviation."""
        draw = self._draw
        kind = draw.one(phrases.TYPES)
        name, short = self._abbreviated(kind)
        while True:
            other = self._kind()
            first = [
                (draw.one(phrases.OBJECTS[kind][:3]), kind),
                (draw.one(phrases.VERBS), ""),
                (draw.one(phrases.OBJECTS[other]), other),
            ]
            use = phrases.NEUTRAL if draw.chance(0.12) else phrases.PREDICATES[kind]
            second = [(draw.one(phrases.SUBJECTS), kind), (draw.one(use), kind)]
            if self._owns(first) and self._owns(second):
                break
        used = _mention((short,), kind)
        tagged = self._filled(*first[0], [*_mention(name, kind), ("(", "O"), *used, (")", "O")])
        tagged += self._filled(*first[1]) + self._filled(*first[2])
        tagged += self._filled(draw.one(phrases.LINKS), "")
        return tagged + self._filled(*second[0], used) + self._filled(*second[1])

    def _owns(self, pieces: list[Piece]) -> bool:
        return owner(" ".join(piece.replace("{x}", "{" + kind + "}") for piece, kind in pieces)) == self._split

    def _abbreviated(self, kind: str) -> tuple[Name, str]:
        while True:
            name = self._names.written(kind)
            short = self._names.short_form(name)
            if short is not None:
                return name, short

    # --- slots

    def _filled(self, phrase: str, kind: str, given: Sequence[Tagged] = ()) -> list[Tagged]:
        """The phrase with every slot filled: the first ``{x}`` by ``given`` where that is not empty."""
        tagged: list[Tagged] = []
        for word in phrase.split():
            if word == "{x}" and given:
                tagged += given
                given = ()
            elif word.startswith("{"):
                tagged += self._slot(word[1:-1], kind)
            else:
                tagged.append((word, "O"))
        return tagged

    def _slot(self, slot: str, kind: str) -> list[Tagged]:
        kind = kind if slot == "x" else slot
        if kind in phrases.TYPES:
            return _mention(self._names.name(kind), kind)
        return [(word, "O") for word in self._plain(kind).split()]

    def _plain(self, slot: str) -> str:
        draw, names = self._draw, self._names
        if slot in phrases.DECOYS:
            return names.code()
        if slot == "n":
            return str(draw.between(2, 60))
        if slot in phrases.FILLERS:
            return draw.one(phrases.FILLERS[slot])
        return {"surname": names.surname, "process": names.process, "procedure": names.procedure}[slot]()


def _mention(name: Name, kind: str) -> list[Tagged]:
    return [(word, ("B-" if place == 0 else "I-") + kind) for place, word in enumerate(name)]


def _capitalised(sentence: Sentence) -> Sentence:
    (first, tag), *rest = sentence
    return ((first[0].upper() + first[1:], tag), *rest)
