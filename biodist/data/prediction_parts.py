"""The folder in which a prediction grows: a file a chunk of documents, each there whole or not at all.

Whoever predicts looks which parts are missing and makes those; a prediction that was stopped goes on by that alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from biodist.config.recipe import SpanFields
from biodist.data.formats.json_spans import as_json
from biodist.data.formats.source import DocumentFormat, DocumentSource, Hub
from biodist.data.iob import Format, Source
from biodist.data.records import Document, Mention, Piece
from biodist.data.tags import PREFIXES
from biodist.errors import Problem, UserError
from biodist.run.durable import write_json, write_text

VERSION = 3  # of what a part says
JOB = "job.json"


@dataclass(frozen=True)
class PredictionJob:
    """What is predicted, by which weights: parts of another job are not taken for this one's.

    ``content`` is the SHA-256 of the file, ``weights`` that of the model; ``chunks`` and ``documents`` are counts.
    """

    path: str
    format: str
    fields: dict[str, str]
    content: str
    run: str
    weights: str
    chunks: int
    documents: int
    version: int = VERSION

    def source(self) -> Source | DocumentSource:
        """The file as a reader takes it."""
        path = Path(self.path)
        for tagged in PREFIXES:
            if tagged == self.format:
                format: Format = tagged  # type: ignore[assignment]
                return Source(path, format, repair=True)
        spans: DocumentFormat = self.format  # type: ignore[assignment]
        return DocumentSource(path, spans, fields=SpanFields(**self.fields), hub=Hub())


@dataclass(frozen=True)
class TaggedDocument:
    """A document with what a model said: its mentions with scores, and of each sentence the words' characters and how
    sure the model was of each word's tag."""

    document: Document
    offsets: tuple[tuple[Piece, ...], ...]
    scores: tuple[tuple[float, ...], ...]


class PredictionParts:
    """A prediction's folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def job(self) -> PredictionJob:
        """What is predicted here. Raises UserError where the folder says nothing that can be read."""
        try:
            return PredictionJob(**json.loads((self.folder / JOB).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(Problem(str(self.folder), "is no folder of a prediction", "remove it")) from error

    def begin(self, job: PredictionJob) -> None:
        """Makes the folder, its owner's alone, or goes on in it. Raises UserError where it is another job's."""
        if not (self.folder / JOB).exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(self.folder / JOB, asdict(job))
            return
        if differences := [key for key, value in asdict(self.job).items() if value != asdict(job)[key]]:
            what = f"holds parts of another prediction ({', '.join(differences)} differ)"
            raise UserError(Problem(str(self.folder), what, "remove the folder, or name another --out"))

    def part(self, number: int) -> Path:
        """The file of a chunk, numbered from 0."""
        return self.folder / f"part-{number:06d}.jsonl"

    def made(self) -> int:
        """How many parts are there."""
        return sum(path.name.startswith("part-") for path in self.folder.iterdir())

    def write(self, number: int, documents: Sequence[TaggedDocument]) -> None:
        """One part, whole and durable. Raises OSError."""
        write_text(self.part(number), "".join(json.dumps(_written(each)) + "\n" for each in documents))

    def read(self) -> Iterator[TaggedDocument]:
        """The documents of all parts in the order of the file."""
        for number in range(self.job.chunks):
            with self.part(number).open(encoding="utf-8") as lines:
                for line in lines:
                    yield _read(json.loads(line))


def weights_digest(model: Path) -> str:
    """SHA-256 of an exported model's weights and tokenizer."""
    digest = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.suffix in (".safetensors", ".json"):
            with path.open("rb") as file:
                digest.update(f"{path.name}\0".encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _written(tagged: TaggedDocument) -> dict[str, object]:
    document = tagged.document
    words = {"line": document.line, "corpus": document.corpus, "offsets": tagged.offsets, "scores": tagged.scores}
    return {**as_json(document), **words}


def _read(written: dict[str, object]) -> TaggedDocument:
    value: dict[str, list] = written  # type: ignore[assignment, type-arg]
    mentions = tuple(
        Mention(((each["start"], each["end"]),), each["type"], each["score"]) for each in value["entities"]
    )
    document = Document(str(value["id"]), str(value["corpus"]), int(written["line"]), str(written["text"]), mentions)  # type: ignore[call-overload]
    offsets = tuple(tuple((start, end) for start, end in sentence) for sentence in value["offsets"])
    return TaggedDocument(document, offsets, tuple(map(tuple, value["scores"])))
