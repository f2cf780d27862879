"""What `merging.py` trains: corpora in which each document, or each corpus, is annotated for some types alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tagged_recipe import SPLITS, Setting, write_recipe

from biodist.errors import Problem, UserError
from biodist.run.durable import write_text

SCHEMES = ("marginal", "naive", "masked", "tagged")
LAYERS = ("CHEBI", "GGP", "NCBITaxon", "CL", "GO")  # of CRAFT, in the order of the file's columns
FIRST_LAYER = 2  # column of the first; before it the token, and one layer of all that is not used here
HIDDEN = (("GGP", "CHEBI"), ("NCBITaxon", "CL"), ("GO",))  # what the documents of one part keep
TITLE_OF = "Abstract"  # a document begins one sentence before each sentence that is this word alone

Sentence = list[list[str]]  # a row a token: the file's columns


@dataclass(frozen=True)
class OneCorpus:
    """A corpus of the second campaign: its folder's name, what its labels become."""

    name: str
    types: dict[str, str]


CORPORA = (
    OneCorpus("NCBI-disease", {"Disease": "Disease"}),
    OneCorpus("BC5CDR", {"Disease": "Disease", "Chemical": "Chemical"}),
    OneCorpus("BC2GM", {"GENE": "Gene"}),
    OneCorpus("linnaeus", {"Species": "Species"}),
)


@dataclass(frozen=True)
class Case:
    """One training."""

    campaign: str  # craft | merged
    scheme: str  # of SCHEMES; complete: nothing hidden; alone: a corpus by itself
    seed: int
    recipe: Path
    of: str = ""  # the corpus that is alone

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.campaign, self.scheme, self.of, str(self.seed))))


@dataclass(frozen=True)
class Ground:
    """Where corpora are found, where parts and recipes are written, and how is trained."""

    shared: Path
    out: Path
    setting: Setting
    seeds: tuple[int, ...]
    test_documents: int | None  # of CRAFT's test part: so many, evenly spread; all of them
    chooses: bool  # whether the four corpora's epoch is chosen by their development parts

    def cases(self) -> list[Case]:
        """Writes parts and recipes, always the same. Raises UserError with every file that is missing."""
        needed = [self._file(name, part) for name in ("CRAFT-bytype", *(one.name for one in CORPORA)) for part in PARTS]
        if missing := [path for path in needed if not path.is_file()]:
            raise UserError(Problem(str(path), "there is no such file", "see benchmarks/README.md") for path in missing)
        self.out.mkdir(parents=True, exist_ok=True)
        return [*self._craft(), *self._merged()]

    def _file(self, corpus: str, part: str) -> Path:
        return self.shared / "data/ner" / corpus / f"{part}.tsv"

    # --- documents that show some layers alone ------------------------------------------------------------------

    def _craft(self) -> Iterator[Case]:
        parts = [self._hidden(number, kept) for number, kept in enumerate(HIDDEN)]
        test = self._test_sentences()
        # A flat tagger against five layers that overlap: each is scored by itself, over the same sentences.
        layers = [self._entry(f"test-{kind}", test, (kind,)) for kind in LAYERS]
        every = list(read_layers(self._file("CRAFT-bytype", "train")))
        complete = [self._entry("train-complete", every, LAYERS)]
        for seed in self.seeds:
            for scheme in SCHEMES:
                yield self._case("craft", scheme, seed, LAYERS, {"train": parts, "test": layers})
            yield self._case("craft", "complete", seed, LAYERS, {"train": complete, "test": layers})

    def _test_sentences(self) -> list[Sentence]:
        found = documents(read_layers(self._file("CRAFT-bytype", "test")))
        wanted = min(self.test_documents or len(found), len(found))
        return [sentence for at in range(wanted) for sentence in found[at * len(found) // wanted]]

    def _hidden(self, number: int, kept: Sequence[str]) -> dict[str, Any]:
        """The documents dealt to one part, in turn, with the layers it keeps."""
        dealt = documents(read_layers(self._file("CRAFT-bytype", "train")))
        sentences = [sentence for at, of in enumerate(dealt) if at % len(HIDDEN) == number for sentence in of]
        return self._entry(f"train-{'-'.join(kept)}", sentences, kept)

    def _entry(self, name: str, sentences: Iterable[Sentence], kept: Sequence[str]) -> dict[str, Any]:
        path = (self.out / f"craft-{name}.tsv").resolve()
        write_text(path, "".join(flat(sentence, kept) for sentence in sentences))
        return {"path": str(path), "format": "iob2", "name": name, "annotates": list(kept)}

    # --- corpora of one or two types ----------------------------------------------------------------------------

    def _merged(self) -> Iterator[Case]:
        labels = list(dict.fromkeys(kind for one in CORPORA for kind in one.types.values()))
        splits = [split for split in SPLITS if self.chooses or split != "validation"]
        together = {split: [self._own(one, split) for one in CORPORA] for split in splits}
        for seed in self.seeds:
            for scheme in SCHEMES:
                yield self._case("merged", scheme, seed, labels, together)
        for seed in self.seeds:
            for one in CORPORA:
                own = {split: [self._own(one, split)] for split in splits}
                case = self._case("merged", "alone", seed, list(one.types.values()), own, one.name)
                yield replace(case, of=one.name)

    def _own(self, one: OneCorpus, split: str) -> dict[str, Any]:
        entry = {"path": str(self._file(one.name, SPLITS[split]).resolve()), "format": "iob2", "name": one.name}
        return {**entry, "annotates": list(one.types.values()), "map": dict(one.types)}  # a copy: YAML would alias it

    def _case(
        self, campaign: str, scheme: str, seed: int, labels: Sequence[str], splits: dict[str, Any], of: str = ""
    ) -> Case:
        name = "-".join(filter(None, (campaign, scheme, of, str(seed))))
        merge = scheme if scheme in SCHEMES else None
        path = write_recipe(self.out, name, self.setting, seed, labels, splits, merge)
        return Case(campaign, scheme, seed, path)


PARTS = tuple(SPLITS.values())


def read_layers(path: Path) -> Iterator[Sentence]:
    """The sentences of a file with a column a layer; its first line is a comment."""
    sentence: Sentence = []
    with path.open(encoding="utf-8") as file:
        next(file)
        for line in file:
            row = line.rstrip("\n").split("\t")
            if len(row) > 1:
                sentence.append(row)
            elif sentence:
                yield sentence
                sentence = []
    if sentence:
        yield sentence


def documents(sentences: Iterable[Sentence]) -> list[list[Sentence]]:
    """The files carry no document marks: one begins at the title before each one-token sentence `Abstract`."""
    found: list[list[Sentence]] = [[]]
    for sentence in sentences:
        if [row[0] for row in sentence] == [TITLE_OF] and len(found[-1]) > 1:
            found.append([found[-1].pop()])
        found[-1].append(sentence)
    return found


def flat(sentence: Sentence, kept: Sequence[str]) -> str:
    """Token and tag of some layers as one: of mentions that overlap the longest stays, of equal ones the first."""
    mentions = [span for kind in kept for span in _spans([row[FIRST_LAYER + LAYERS.index(kind)] for row in sentence])]
    tags = ["O"] * len(sentence)
    for start, end, kind in sorted(mentions, key=lambda span: (span[0] - span[1], span[0], kept.index(span[2]))):
        if all(tag == "O" for tag in tags[start:end]):
            tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return "".join(f"{row[0]}\t{tag}\n" for row, tag in zip(sentence, tags, strict=True)) + "\n"


def _spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """First token, one past the last, and type of each mention of one IOB2 layer."""
    found: list[tuple[int, int, str]] = []
    for at, tag in enumerate(tags):
        if tag.startswith("B-"):
            found.append((at, at + 1, tag[2:]))
        elif tag.startswith("I-") and found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1, found[-1][2])
    return found
