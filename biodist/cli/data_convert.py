"""``biodist data convert``: a corpus in another format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from biodist.cli.corpus_options import corpus_source
from biodist.cli.say import err, out
from biodist.errors import Problem, UserError

Read = Literal["iob", "iob2", "iobes", "conll", "brat", "pubtator", "bioc", "jsonl", "bigbio"]
Written = Literal["iob2", "iobes", "brat", "pubtator", "bioc", "jsonl", "bigbio"]
Policy = Literal["flatten", "refuse", "keep"]


def convert(
    file: Annotated[Path, typer.Argument(help="The corpus: a file, a folder (brat, bigbio), or a hub id (bigbio).")],
    to: Annotated[Path, typer.Option("--out", help="What to write; brat is a folder. Nothing is replaced.")],
    written: Annotated[Written, typer.Option("--to", help="Its format; bioc is JSON where the name ends in .json.")],
    read: Annotated[Read, typer.Option("--from", help="How the corpus is written.")] = "iob",
    fields: Annotated[str, typer.Option(help="What fields of JSON lines are called: entities=spans,type=label.")] = "",
    labels: Annotated[str, typer.Option(help="Types it may hold, with commas between; else any.")] = "",
    renamed: Annotated[str, typer.Option("--map", help="Renames types: DISO=Disease,MISC=O (O leaves them out).")] = "",
    overlaps: Annotated[
        Policy, typer.Option(help="Mentions that overlap: keep, flatten to the longest, or refuse.")
    ] = "keep",
    discontinuous: Annotated[Policy, typer.Option(help="Mentions with gaps: keep, flatten, or refuse.")] = "keep",
    repair: Annotated[bool, typer.Option("--repair", help="Mend broken tag sequences.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Writes a corpus in another format, whole or not at all; what the format cannot say is counted, or refused.

    A tagged file has one layer: overlaps and gaps are flattened for it. It has no text of its own either: its words
    are joined by blanks, its sentences by line ends.
    """
    from biodist.data.conversion import convert as convert_corpus
    from biodist.data.texts import TextSource

    source = corpus_source(file, read, "ner", "", fields, labels, renamed, False, repair, overlaps, discontinuous)
    if isinstance(source, TextSource):
        raise UserError(Problem(f"--from {read}", "is no format of entities"))
    done = convert_corpus(source, to, written)
    if as_json:
        typer.echo(json.dumps(done.as_json(), indent=2))
        return
    unit = "sentences" if written in ("iob2", "iobes") else "documents"
    out.print(f"{done.units:,} {unit} with {done.mentions:,} mentions in {done.path}")
    for number, what in (
        (done.lost, "mentions left out: they overlap a longer one, or hold no word"),
        (done.stretched, "discontinuous mentions stretched over their gaps"),
        (done.split_words, "words cut where a mention begins or ends"),
        (done.changed, "characters became blanks: the format has no place for line ends"),
        (done.left_out, "mentions left out: renamed to O"),
        (done.repeated, "mentions that stand there twice written once"),
        (done.repaired, "broken tag sequences mended"),
        (done.passed_over, "relations, events, notes and the like not carried over"),
    ):
        if number:
            err.print(f"notice: {number:,} {what}")
