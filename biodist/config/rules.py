"""Rules between the keys of a recipe. Each yields findings; none raises."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from biodist.config.corpora import annotated_types, entries, has_pairs
from biodist.config.document import KeyPath
from biodist.config.findings import Finding, shown_value
from biodist.config.recipe import Recipe
from biodist.config.span_rules import broken_span_rules
from biodist.config.text_rules import NO_MAJORITY, broken_text_rules

LEFT_OUT = "O"  # ner: what a type that is not to be learnt is mapped to
SPECIAL_TOKENS = 2  # around a window of one text
SHARED_METRICS = ("f1", "precision", "recall", "accuracy", "loss")
METRICS_OF_TASK = {
    "ner": SHARED_METRICS,
    "nli": (*SHARED_METRICS, "macro_f1", "micro_f1", "matthews"),
    "classification": (*SHARED_METRICS, "macro_f1", "micro_f1", "matthews"),
}
METRICS_OF_CORPUS = ("f1", "precision", "recall", "accuracy")  # written behind a corpus's name: ncbi.f1
MEAN_OVER_CORPORA = "macro_f1"
METRICS_OF_MULTI_LABEL = (*SHARED_METRICS, "macro_f1", "micro_f1", "example_f1")
EPOCHS: KeyPath = ("train", "epochs")
MAX_STEPS: KeyPath = ("train", "max_steps")


def broken_rules(recipe: Recipe) -> Iterator[Finding]:
    """Every rule between keys that the recipe breaks."""
    return chain(
        _length_of_training(recipe),
        _encoder(recipe),
        _scratch_size(recipe),
        _windows(recipe),
        _labels(recipe),
        _label_maps(recipe),
        _corpus_names(recipe),
        _metric(recipe),
        _offload(recipe),
        _augmentation(recipe),
        broken_text_rules(recipe),
        broken_span_rules(recipe),
    )


def metrics_of(recipe: Recipe) -> tuple[str, ...]:
    """The metrics of a recipe's task that may choose its best model; of all but `loss` more is better.

    `f1`, `precision` and `recall` are over entities (ner; of all corpora together, or of one: `ncbi.f1`), macro
    averages over classes (nli, classification), or micro averages (several labels a sample).
    """
    usual = METRICS_OF_MULTI_LABEL if recipe.data.multi_label else METRICS_OF_TASK.get(recipe.task, ())
    return (*usual, *_metrics_of_corpora(recipe))


def _metrics_of_corpora(recipe: Recipe) -> tuple[str, ...]:
    """Where entities of several corpora are validated: those of each, and their mean.

    Without validation nothing is chosen, and a recipe may keep its metric.
    """
    corpora = [entry.corpus for entry in recipe.data.validation]
    if recipe.task != "ner" or len(corpora) == 1:
        return ()
    names = corpora or [recipe.evaluate.metric.rpartition(".")[0]]
    return (MEAN_OVER_CORPORA, *(f"{name}.{score}" for name in names if name for score in METRICS_OF_CORPUS))


def _length_of_training(recipe: Recipe) -> Iterator[Finding]:
    if recipe.train.epochs is None and recipe.train.max_steps is None:
        yield Finding((EPOCHS, MAX_STEPS), "neither epochs nor max_steps is given", "give one: train.epochs=10")
    if recipe.train.epochs is not None and recipe.train.max_steps is not None:
        what = f"is given beside train.epochs ({recipe.train.epochs}), but only one of the two decides"
        yield Finding((MAX_STEPS, EPOCHS), what, "remove one, or add train.epochs=null")


def _encoder(recipe: Recipe) -> Iterator[Finding]:
    about: tuple[KeyPath, ...] = (("model", "name"), ("model", "init"), ("model", "after"))
    after: tuple[KeyPath, ...] = (("model", "after"), ("model", "name"), ("model", "init"))
    if recipe.model.after is not None and recipe.model.name is not None:
        what = f"is given beside model.name ({recipe.model.name}), but one model is trained on"
        yield Finding(after, what, "remove one: model.name=null, or model.after=null")
    if recipe.model.after is not None and recipe.model.init == "scratch":
        what = "is given, but model.init: scratch starts from no model"
        yield Finding(after, what, "remove it (model.after=null), or set model.init=pretrained")
    if recipe.model.init == "pretrained" and recipe.model.name is None and recipe.model.after is None:
        yield Finding(about, "is required", "give a hub id or a local folder, or set model.init=scratch")
    if recipe.model.init == "scratch" and recipe.model.name is not None:
        what = f"is {recipe.model.name}, but model.init: scratch starts from no encoder"
        yield Finding(about, what, "remove it (model.name=null), or set model.init=pretrained")


def _scratch_size(recipe: Recipe) -> Iterator[Finding]:
    size = recipe.model.scratch
    if recipe.model.init != "scratch":
        return
    init: KeyPath = ("model", "init")
    hidden: KeyPath = ("model", "scratch", "hidden_size")
    heads: KeyPath = ("model", "scratch", "heads")
    if size.hidden_size % size.heads:
        what = f"{size.hidden_size} is not divisible by model.scratch.heads ({size.heads})"
        yield Finding((hidden, heads, init), what, f"use a multiple of {size.heads}, or other heads")
    positions: KeyPath = ("model", "scratch", "max_positions")
    if size.max_positions < recipe.data.max_length:
        what = f"{size.max_positions} is less than data.max_length ({recipe.data.max_length})"
        yield Finding(
            (positions, ("data", "max_length"), init), what, "raise it to data.max_length, or lower data.max_length"
        )


def _windows(recipe: Recipe) -> Iterator[Finding]:
    if has_pairs(recipe):
        return  # always one window
    room = recipe.data.max_length - SPECIAL_TOKENS
    if recipe.data.stride >= room:
        what = f"{recipe.data.stride} must be below data.max_length - {SPECIAL_TOKENS} ({room}), or no window advances"
        yield Finding((("data", "stride"), ("data", "max_length")), what, "lower the stride: 64 is usual at 512")


def _labels(recipe: Recipe) -> Iterator[Finding]:
    about: KeyPath = ("data", "labels")
    labels = recipe.data.labels
    if not labels and recipe.task != "qa":
        yield Finding((about, ("task",)), f"is empty, but task {recipe.task} needs its types or classes", "list them")
    for label, count in Counter(labels).items():
        if count > 1:
            second = [number for number, other in enumerate(labels) if other == label][1]
            yield Finding(((*about, second), about), f"{label} is listed {count} times", "keep one")
    for number, label in enumerate(labels):
        if not label:
            yield Finding(((*about, number),), "is empty", "give a name, or remove it")
        elif recipe.task == "ner" and (label == "O" or label != "".join(label.split())):
            yield Finding(((*about, number), ("task",)), f"{label!r} cannot name an entity type", "O and blanks cannot")
    every: tuple[KeyPath, ...] = (about, *((*key, "annotates") for key, _ in entries(recipe.data) if key[1] == "train"))
    annotated = {name for entry in recipe.data.train for name in annotated_types(entry, recipe.data)}
    for label in dict.fromkeys(labels):
        if label not in annotated:
            yield Finding(every, f"{label} is annotated by no training corpus", "name it in an annotates, or remove it")


def _label_maps(recipe: Recipe) -> Iterator[Finding]:
    labels = recipe.data.labels
    for key, entry in entries(recipe.data):
        named = [((*key, "annotates", number), name) for number, name in enumerate(entry.annotates or ())]
        mapped = [((*key, "map", source), name) for source, name in entry.map.items()]
        for path, name in named + mapped:
            is_dropped = name == {"nli": NO_MAJORITY, "ner": LEFT_OUT}.get(recipe.task) and path[-2] == "map"
            if labels and name not in labels and not is_dropped:
                close = difflib.get_close_matches(name, labels, n=1)
                do = f"did you mean {close[0]}?" if close else "data.labels has " + ", ".join(labels)
                yield Finding((path, ("data", "labels")), f"{name} is not in data.labels", do)
        if entry.annotates is not None and not entry.annotates:
            yield Finding(((*key, "annotates"),), "is an empty list", "name the types, or remove the key for all")


def _corpus_names(recipe: Recipe) -> Iterator[Finding]:
    # A sample's id is corpus:ordinal, so two files of one split must not share a name.
    first: dict[tuple[str | int, str], KeyPath] = {}
    for key, entry in entries(recipe.data):
        known = first.setdefault((key[1], entry.corpus), key)
        if known != key:
            about = ((*key, "name"), (*key, "path"), (*known, "name"), (*known, "path"))
            what = f"the corpus is called {entry.corpus}, as is item {known[2]} of data.{key[1]}"
            yield Finding(about, what, "give each file of a split a name of its own")


def _metric(recipe: Recipe) -> Iterator[Finding]:
    about: tuple[KeyPath, ...] = (("evaluate", "metric"), ("task",), ("data", "multi_label"))
    metric, mode, known = recipe.evaluate.metric, recipe.evaluate.mode, metrics_of(recipe)
    best = "min" if metric == "loss" else "max"
    if not known:
        return
    if metric not in known:
        several = " with several labels a sample" if recipe.data.multi_label else ""
        what = f"{metric} is not a metric of task {recipe.task}{several}"
        alone = recipe.task == "ner" and len(recipe.data.validation) == 1 and metric.endswith(METRICS_OF_CORPUS)
        only = f", and {recipe.data.validation[0].corpus} is the only corpus of data.validation" if alone else ""
        yield Finding((*about, ("data", "validation")), what + only, "one of " + ", ".join(known))
    elif best != mode:
        what = f"{mode} would keep the worst model: {metric} is better when {'smaller' if best == 'min' else 'larger'}"
        yield Finding((("evaluate", "mode"), *about), what, f"set evaluate.mode={best}")


def _offload(recipe: Recipe) -> Iterator[Finding]:
    strategy = recipe.distributed.strategy
    if recipe.distributed.offload != "none" and strategy not in ("zero2", "zero3"):
        about: tuple[KeyPath, ...] = (("distributed", "offload"), ("distributed", "strategy"))
        what = f"{recipe.distributed.offload} needs zero2 or zero3, but distributed.strategy is {strategy}"
        yield Finding(about, what, "set distributed.strategy=zero2, or distributed.offload=none")


def _augmentation(recipe: Recipe) -> Iterator[Finding]:
    augment, labels = recipe.data.augment, recipe.data.labels
    if augment is None:
        return
    about: KeyPath = ("data", "augment")
    if recipe.task != "ner":
        yield Finding((about, ("task",)), f"exchanges mentions, but task {recipe.task} has none", "remove it")
        return
    if augment.map and not augment.files:
        what = "names types of a file's names, but data.augment.sources is corpus"
        yield Finding(((*about, "map"), (*about, "sources")), what, "remove it, or name a file")
    for number, source in enumerate(augment.sources):
        if source in augment.sources[:number]:
            what = f"{shown_value(source)} is there twice, and each source is drawn from as often"
            yield Finding(((*about, "sources", number), about), what, "name it once")
    for source, name in augment.map.items():
        if labels and name not in labels:
            close = difflib.get_close_matches(name, labels, n=1)
            do = f"did you mean {close[0]}?" if close else "data.labels has " + ", ".join(labels)
            yield Finding(((*about, "map", source), ("data", "labels")), f"{name} is not in data.labels", do)
