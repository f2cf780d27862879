"""Names of diseases, chemicals, genes and species, composed of morphemes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from biodist.data.generate import morphemes as part
from biodist.data.generate.draw import Draw
from biodist.data.generate.splits import Split, owner

Name = tuple[str, ...]  # one string a token

CODES: Final = {"train": 2500, "validation": 120, "test": 200}  # size of the pool of code-like forms
_CODE_SHARE: Final = {"Disease": 0.3, "Chemical": 0.35, "Gene": 0.4, "Species": 0.25}


class Names:
    """Draws names of one split.

    A form that another split owns is drawn again, and so is every shorter name inside a longer one: no name of one
    split is found in the text of another. Code-like forms (``TRK4``, ``PX-12``, ``MET``) come from one pool for
    all types and for things that are no entity (cell lines, trials): only the context tells which they are.
    """

    def __init__(self, split: Split, draw: Draw):
        self._split = split
        self._draw = draw
        self._codes = self._pool()
        self._forms: dict[str, tuple[tuple[Callable[[], Name], float], ...]] = {
            "Disease": (
                (lambda: (self._disease_word(),), 6),
                (lambda: (draw.one(part.INHERENT), self._own(self._disease_word)), 3),
                (self._regional_disease, 2),
                (self._eponym, 2),
                (lambda: (*self._binomial(), draw.one(part.INFECTION_HEADS)), 2),
                (lambda: (self.code(), draw.one(("deficiency", "haploinsufficiency"))), 2),
                (lambda: (self._own(self._chemical_word), draw.one(part.POISONING_HEADS)), 2),
            ),
            "Chemical": (
                (lambda: (self._chemical_word(),), 6),
                (lambda: (self._own(self._chemical_word), draw.one(part.SALTS)), 3),
                (self._substituted, 1),
                (self._antagonist, 2),
                (lambda: (self.code(), draw.one(part.SALTS)), 1),
            ),
            "Gene": (
                (lambda: (self._protein_word(),), 5),
                (lambda: (self._own(self._protein_word), self._number()), 2),
                (lambda: (self._own(self._chemical_word), "receptor", draw.one(part.GREEK)), 2),
                (lambda: (self._own(self._chemical_word), draw.one(part.ENZYMES), self._number()), 2),
                (self._disease_protein, 2),
            ),
            "Species": (
                (self._binomial, 6),
                (lambda: (self._genus(),), 2),
                (lambda: (*self._binomial(), "subsp.", self._own(self._epithet)), 1),
                (lambda: (self.surname(), draw.one(part.ANIMALS)), 2),
            ),
        }

    def name(self, kind: str) -> Name:
        """A name of one type; every second Gene or so is only a code."""
        if self._draw.chance(_CODE_SHARE[kind]):
            return (self.code(),)
        return self.written(kind)

    def written(self, kind: str) -> Name:
        """A name of one type in words, not a code."""
        make = self._draw.weighted(self._forms[kind])
        while True:  # the form stays: or else each split would have its own share of long names
            name = make()
            if owner(" ".join(name)) == self._split:
                return name

    def code(self) -> str:
        return self._draw.one(self._codes)

    def surname(self) -> str:
        return self._own(lambda: self._draw.one(part.SURNAME_STARTS) + self._draw.one(part.SURNAME_ENDS))

    def process(self) -> str:
        """A word that ends like a disease and is none: ``phagocytosis``."""
        return self._own(lambda: self._draw.one(part.PROCESS_STEMS) + self._draw.one(part.PROCESS_ENDINGS))

    def procedure(self) -> str:
        """A word that begins like a disease and is none: ``nephrectomy``."""
        return self._own(lambda: self._draw.one(part.ANATOMY) + self._draw.one(part.PROCEDURE_ENDINGS))

    def short_form(self, name: Name) -> str | None:
        """An abbreviation of a name that this split may use, or None: initials, or the consonants of one word."""
        if len(name) > 1:
            letters = "".join(word[0] for word in name if word[0].isalnum())
        else:
            letters = name[0][0] + "".join(letter for letter in name[0][1:] if letter not in "aeiouy-")[:3]
        form = letters.upper()
        usable = 2 < len(form) < 6 and form.isalpha() and owner(form) == self._split
        return form if usable and form not in _EVERYDAY else None

    def _own(self, make: Callable[[], str]) -> str:
        while True:
            form = make()
            if owner(form) == self._split:
                return form

    def _pool(self) -> tuple[str, ...]:
        forms = dict.fromkeys(part.WORD_SYMBOLS[self._split])
        while len(forms) < CODES[self._split]:
            forms[self._own(self._code)] = None
        return tuple(forms)

    def _code(self) -> str:
        letters = "".join(self._draw.one(part.CODE_LETTERS) for _ in range(self._draw.between(2, 4)))
        return letters + self._draw.one(("", "", "-")) + str(self._draw.between(1, 99 if len(letters) < 4 else 9))

    # --- single words

    def _disease_word(self) -> str:
        draw = self._draw
        first = draw.one(part.ANATOMY) + "o" if draw.chance(0.4) else ""
        return first + draw.one(part.ANATOMY) + draw.one(part.DISEASE_ENDINGS)

    def _chemical_word(self) -> str:
        draw = self._draw
        middle = draw.one(("", "a", "i", "o")) + draw.one(part.SYLLABLES)
        return draw.one(part.CHEMICAL_STEMS) + middle + draw.one(part.CHEMICAL_ENDINGS)

    def _protein_word(self) -> str:
        draw = self._draw
        middle = draw.one(("", "a", "i", "o")) + draw.one(part.SYLLABLES)
        return draw.one(part.PROTEIN_STEMS) + middle + draw.one(part.PROTEIN_ENDINGS)

    def _genus(self) -> str:
        return (self._draw.one(part.GENUS_STEMS) + self._draw.one(part.GENUS_ENDINGS)).capitalize()

    def _epithet(self) -> str:
        return self._draw.one(part.EPITHET_STEMS) + self._draw.one(part.EPITHET_ENDINGS)

    def _number(self) -> str:
        return str(self._draw.between(1, 14))

    # --- names

    def _binomial(self) -> Name:
        genus = self._own(self._genus)
        first = genus[0] + "." if self._draw.chance(0.35) else genus
        return (first, self._own(self._epithet))

    def _regional_disease(self) -> Name:
        draw = self._draw
        return (draw.one(part.INHERENT), draw.one(part.REGIONS), draw.one(part.DISEASE_HEADS), "type", self._number())

    def _eponym(self) -> Name:
        surnames = self.surname() + ("-" + self.surname() if self._draw.chance(0.5) else "")
        return (surnames, self._draw.one(("syndrome", "disease", "anomaly")))

    def _substituted(self) -> Name:
        draw = self._draw
        group = draw.one(("methyl", "hydroxy", "chloro"))
        return (f"{draw.between(1, 6)}-{group}-{self._own(self._chemical_word)}",)

    def _antagonist(self) -> Name:
        return (self._own(self._protein_word), self._draw.one(("inhibitor", "antagonist")), self._number())

    def _disease_protein(self) -> Name:
        link = self._draw.one(("susceptibility", "associated"))
        return (self._own(self._disease_word), link, "protein", self._number())


# Abbreviations that every split writes and that name nothing.
_EVERYDAY: Final = frozenset({"DNA", "RNA", "PCR", "MRI"})
