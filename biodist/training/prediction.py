"""One process of a prediction: ``python -m biodist.training.prediction --parts DIR --rank R --world-size W …``.

Every process reads the whole file and tags each W-th chunk whose part is not there yet. Exit codes as everywhere: 0
done, 2 the file, 3 failed; a signal ends it at once, for what is written is whole.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from biodist.data.prediction_parts import PredictionParts, TaggedDocument
from biodist.data.records import Document, Mention
from biodist.data.untagged import Untagged, chunks
from biodist.errors import EXIT_DONE, EXIT_FAILED, BiodistError
from biodist.run.folder import RunFolder
from biodist.run.tether import tether

if TYPE_CHECKING:
    from biodist.training.tagger import TaggedSentence, Tagger


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one process and gives its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", type=Path, required=True)
    for name in ("--rank", "--world-size", "--parent", "--threads"):
        parser.add_argument(name, type=int, required=True)
    given = parser.parse_args(arguments)
    tether(given.parent)
    try:
        predict_parts(PredictionParts(given.parts), given.rank, given.world_size, given.threads)
    except BiodistError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    except Exception:
        traceback.print_exc()
        return EXIT_FAILED
    return EXIT_DONE


def predict_parts(parts: PredictionParts, rank: int, world_size: int, threads: int) -> None:
    """Makes the parts of this rank that are missing. Raises what reading the file or loading the model raises."""
    job = parts.job
    missing = {number for number in range(rank, job.chunks, world_size) if not parts.part(number).exists()}
    if not missing:
        return
    import torch
    from transformers.utils import logging

    from biodist.training.tagger import Tagger

    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    device = f"cuda:{rank % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    tagger = Tagger(RunFolder(Path(job.run)), device)
    for number, chunk in enumerate(chunks(job.source())):
        if number in missing:
            parts.write(number, tagged(tagger, chunk))


def tagged(tagger: Tagger, chunk: Sequence[Untagged]) -> list[TaggedDocument]:
    """What the model says of each document of a chunk."""
    said = iter(tagger.tag([record for each in chunk for record in each.records]))
    return [_document(each, [next(said) for _ in each.records]) for each in chunk]


def _document(each: Untagged, said: Sequence[TaggedSentence]) -> TaggedDocument:
    mentions, offsets = [], []
    for record, sentence in zip(each.records, said, strict=True):
        places = record.offsets or ()
        offsets.append(places)
        for entity, score in zip(sentence.entities, sentence.entity_scores, strict=True):
            pieces = ((places[entity.start][0], places[entity.end - 1][1]),)
            mentions.append(Mention(pieces, entity.type, min(1.0, round(score, 6))))
    plain = each.document
    document = Document(plain.document, plain.corpus, plain.line, plain.text, tuple(mentions))
    scores = tuple(tuple(round(score, 6) for score in sentence.word_scores) for sentence in said)
    return TaggedDocument(document, tuple(offsets), scores)


if __name__ == "__main__":
    sys.exit(main())
