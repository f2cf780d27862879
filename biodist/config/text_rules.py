"""Rules between the keys of recipes for texts and pairs of texts: tasks nli and classification."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from biodist.config.corpora import TEXT_TASKS, entries, has_pairs
from biodist.config.document import KeyPath
from biodist.config.findings import Finding
from biodist.config.recipe import Columns, CorpusEntry, Recipe

TABLES = ("tsv", "csv")
FORMATS_OF_TASK = {
    "ner": ("iob", "iob2", "iobes", "conll", "brat", "pubtator", "bioc", "jsonl", "bigbio"),
    "nli": ("jsonl", *TABLES),
    "classification": ("jsonl", *TABLES, "pubmedqa"),
}
NO_MAJORITY = "-"  # nli: the annotators did not agree; such a sample is dropped and counted
LABELS_OF_MESH = "MESHES"  # PubMedQA's list of MeSH terms, of which a recipe lists those it is about
SEPARATOR = "|"  # between the labels of one cell of a table
ROLES = ("text", "second", "label", "id")


def broken_text_rules(recipe: Recipe) -> Iterator[Finding]:
    """Every rule of the text tasks that the recipe breaks, and every key of theirs that another task has no use for."""
    return chain(
        _formats(recipe),
        _columns(recipe),
        _pairs(recipe),
        _classes(recipe),
        _multi_label(recipe),
        _windows(recipe),
        _annotates(recipe),
    )


def _formats(recipe: Recipe) -> Iterator[Finding]:
    formats = FORMATS_OF_TASK.get(recipe.task, ())
    every = {name for names in FORMATS_OF_TASK.values() for name in names}
    for key, entry in entries(recipe.data):
        if formats and entry.format in every and entry.format not in formats:
            what = f"{entry.format} is no format of task {recipe.task}"
            yield Finding(((*key, "format"), ("task",)), what, "one of " + ", ".join(formats))


def _columns(recipe: Recipe) -> Iterator[Finding]:
    for key, entry in entries(recipe.data):
        about: KeyPath = (*key, "columns")
        if entry.columns == Columns():
            continue
        if recipe.task not in TEXT_TASKS:
            yield Finding((about, ("task",)), f"task {recipe.task} reads no named columns", "remove them")
        elif entry.format == "pubmedqa":
            for role in ("text", "second", "id"):
                if getattr(entry.columns, role) is not None:
                    what = "is given, but PubMedQA's question, contexts and id have their names"
                    yield Finding(((*about, role), (*key, "format")), what, "remove it; label may be given")
        else:
            yield from _named_once(recipe, entry, key)
            if entry.format in TABLES and entry.columns.by_position:
                yield from _positions(recipe, entry, key)


def _named_once(recipe: Recipe, entry: CorpusEntry, key: KeyPath) -> Iterator[Finding]:
    """The label as a text would be learnt by heart, and a text as both sides of its pair agrees with itself."""
    roles: dict[str, str] = {}
    columns = entry.columns_for(recipe.task)
    for role in ROLES:
        name = getattr(columns, role)
        if name is not None and roles.setdefault(name, role) != role:
            about = ((*key, "columns", role), (*key, "columns", roles[name]), ("task",))
            yield Finding(about, f"{name} is the column of {roles[name]} already", "name another")


def _positions(recipe: Recipe, entry: CorpusEntry, key: KeyPath) -> Iterator[Finding]:
    columns = entry.columns_for(recipe.task)
    for role in ROLES:
        name = getattr(columns, role)
        if name is None:
            continue
        about = ((*key, "columns", role), (*key, "columns"), ("task",))
        if not (name.isascii() and name.isdigit()):
            given = "is absent" if getattr(entry.columns, role) is None else f"is {name}"
            yield Finding(about, f"{given}, but other columns go by position", "give all names, or all positions")
        elif name != str(int(name)) or int(name) < 1:
            yield Finding(about, f"must be a position, from 1, but is {name}", "count the columns from 1")


def _pairs(recipe: Recipe) -> Iterator[Finding]:
    if recipe.task not in TEXT_TASKS:
        return
    first = ("data", "train", 0)
    for key, entry in entries(recipe.data):
        if (entry.columns_for(recipe.task).second is None) == has_pairs(recipe):
            about = ((*key, "columns", "second"), (*key, "format"), (*first, "columns", "second"), (*first, "format"))
            one, other = ("pairs", "single texts") if has_pairs(recipe) else ("single texts", "pairs")
            yield Finding(
                (*about, ("task",)), f"gives {other}, but data.train.0 gives {one}", "all files give the same"
            )


def _classes(recipe: Recipe) -> Iterator[Finding]:
    about: KeyPath = ("data", "labels")
    labels = recipe.data.labels
    if recipe.task in TEXT_TASKS and len(labels) == 1 and not recipe.data.multi_label:
        what = f"{labels[0]} is the only class, so there is nothing to tell apart"
        yield Finding((about, ("task",), ("data", "multi_label")), what, "list every class")
    for number, label in enumerate(labels):
        if recipe.task == "nli" and label == NO_MAJORITY:
            what = f"{label} marks a pair without a majority, which is dropped"
            yield Finding(((*about, number), ("task",)), what, "remove it")


def _multi_label(recipe: Recipe) -> Iterator[Finding]:
    about: KeyPath = ("data", "multi_label")
    several = recipe.data.multi_label
    if several and recipe.task != "classification":
        yield Finding((about, ("task",)), f"true belongs to task classification, not {recipe.task}", "remove it")
        return
    for key, entry in entries(recipe.data):
        label = entry.columns_for(recipe.task).label
        keys = ((*key, "columns", "label"), about, (*key, "format"), ("task",))
        if entry.format == "pubmedqa" and label == LABELS_OF_MESH and not several:
            yield Finding(keys, f"{label} is a list of labels", "set data.multi_label=true")
        cut = [name for name in recipe.data.labels if SEPARATOR in name] if several and entry.format in TABLES else []
        if cut:
            what = f"{cut[0]} holds {SEPARATOR}, which stands between the labels of a cell"
            yield Finding((("data", "labels"), *keys), what, "rename it with map, or give JSON lines")


def _windows(recipe: Recipe) -> Iterator[Finding]:
    if recipe.data.max_windows is None:
        return
    about = (("data", "max_windows"), ("task",), ("data", "train"))
    if recipe.task != "classification":
        what = f"belongs to task classification: {recipe.task} leaves no window out"
        yield Finding(about, what, "remove it")
    elif has_pairs(recipe):
        yield Finding(
            about, "is given, but a pair of texts is always one window", "remove it; data.truncate cuts pairs"
        )


def _annotates(recipe: Recipe) -> Iterator[Finding]:
    for key, entry in entries(recipe.data):
        if recipe.task in TEXT_TASKS and entry.annotates is not None:
            what = f"task {recipe.task} has one label of all classes for each sample"
            yield Finding(((*key, "annotates"), ("task",)), what, "remove it")
