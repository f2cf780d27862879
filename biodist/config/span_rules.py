"""Rules between the keys of recipes whose corpora mark characters: brat, PubTator, BioC, JSON lines, BigBIO."""

from __future__ import annotations

from collections.abc import Iterator

from biodist.config.corpora import entries
from biodist.config.findings import Finding
from biodist.config.recipe import Recipe, SpanFields

ONE_LAYER = ("overlaps", "discontinuous")
OF_BIGBIO = ("subset", "part", "revision")


def broken_span_rules(recipe: Recipe) -> Iterator[Finding]:
    """Every rule of spans that the recipe breaks."""
    for key in ONE_LAYER:
        if getattr(recipe.data, key) == "keep":
            what = "keep is for `biodist data convert`: training has one layer of tags"
            yield Finding((("data", key),), what, f"set data.{key}=flatten, which counts what it changes, or refuse")
    for path, entry in entries(recipe.data):
        for name in OF_BIGBIO:
            if getattr(entry, name) is not None and entry.format != "bigbio":
                what = f"belongs to format bigbio, but this file's is {entry.format}"
                yield Finding(((*path, name), (*path, "format")), what, "remove it")
        if entry.fields != SpanFields() and (entry.format != "jsonl" or recipe.task != "ner"):
            what = "names the fields of JSON lines with spans, which this file is not"
            yield Finding(((*path, "fields"), (*path, "format"), ("task",)), what, "remove it")
