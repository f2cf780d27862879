"""Corpora to training samples: seconds against `datasets.map`, the warm second start, and memory on 1 GB of text.

usage: preparation.py speed --shared DIR --out FILE.jsonl [--repetitions N] [--markdown FILE.md]
       preparation.py memory --out FILE.jsonl [--gigabytes X] [--folder DIR] [--markdown FILE.md]

speed: BC5CDR, BC2GM, linnaeus and CRAFT (train, devel, test: some 2 million tokens) become samples, tokenised for one
encoder. `biodist`: its data index, from the files; `warm`: the same again; `datasets`: the files read into lists,
then `Dataset.map`, batched, on two processes, with the fast tokenizer, words given one by one, labels aligned by
`word_ids()`, written by its own cache. Each case is a process of its own; the clock runs from behind its imports. They
take turns, and who begins changes.

memory: text of invented words, tagged, made below --folder: `biodist data check` reads it, then it becomes an index.
Memory is looked at every 50 ms: `anonymous` is what the process holds itself, `resident` has the pages of files that it
maps as well, which the kernel takes back whenever it wants them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

from material import add_arguments, commit_label, measured_commit, refuse_absent, typed_command

from biodist.errors import BiodistError, RunFailed
from biodist.run.durable import JsonLines, read_json_lines
from biodist.run.provenance import Commit
from biodist.run.records import Record

CORPORA = ("BC5CDR", "BC2GM", "linnaeus", "CRAFT")
FILES = {"train": "train", "validation": "devel", "test": "test"}
MAX_LENGTH = 128
SPEED, MEMORY = ("biodist", "warm", "datasets"), ("check", "tokenise")
LOOK_S = 0.05
GOAL_WARM_S, GOAL_MB = 2.0, 1000


class Row(Record):
    """One case. ``seconds`` by the clock, ``processor_seconds`` of all processes; memory in 10^6 bytes."""

    commit: Commit
    case: str
    repetition: int
    seconds: float
    processor_seconds: float
    sentences: int
    tokens: int
    anonymous_mb: float
    resident_mb: float
    machine_load: float  # before: above 0 others were at work


# --- cases, each in a process of its own ------------------------------------------------------------------------


def types_of(path: Path) -> list[str]:
    """The entity types of a tagged file."""
    with path.open(encoding="utf-8") as lines:
        return sorted({line.rpartition("\t")[2].strip()[2:] for line in lines if "\tB-" in line})


def build(shared: Path, model: Path, cache: Path) -> dict[str, float]:
    """The data index of the four corpora."""
    from biodist.config.recipe import Recipe
    from biodist.data.indexing import build_index

    folders = {name: shared / "data" / "ner" / name for name in CORPORA}
    types = {name: types_of(folder / "train.tsv") for name, folder in folders.items()}
    data = {
        split: [
            {"path": str(folders[name] / f"{file}.tsv"), "name": name, "annotates": types[name]} for name in CORPORA
        ]
        for split, file in FILES.items()
    }
    labels = sorted({kind for kinds in types.values() for kind in kinds})
    recipe = Recipe.model_validate(
        {
            "name": "preparation",
            "task": "ner",
            "model": {"name": str(model)},
            "data": {"labels": labels, "max_length": MAX_LENGTH, "leaks": "keep", **data},
            "train": {"epochs": 1},
        }
    )
    began = time.perf_counter()
    index = build_index(recipe, model, cache)
    splits = index.splits.values()
    found = {"sentences": sum(each.samples for each in splits), "tokens": sum(each.targets for each in splits)}
    return {"seconds": time.perf_counter() - began, **found}


def map_datasets(shared: Path, model: Path, cache: Path) -> dict[str, float]:
    """The same files by the usual recipe of `datasets` and `transformers`."""
    os.environ["HF_DATASETS_CACHE"] = str(cache)
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, use_fast=True)
    began = time.perf_counter()
    sentences = tokens = 0
    for file in FILES.values():
        rows: dict[str, list[list[str]]] = {"tokens": [], "tags": []}
        for name in CORPORA:
            for block in (shared / "data" / "ner" / name / f"{file}.tsv").read_text("utf-8").split("\n\n"):
                cells = [line.split("\t") for line in block.splitlines() if line]
                if cells:
                    rows["tokens"].append([cell[0] for cell in cells])
                    rows["tags"].append([cell[-1] for cell in cells])
        numbers = {tag: number for number, tag in enumerate(sorted({tag for tags in rows["tags"] for tag in tags}))}

        def aligned(batch: dict[str, list[list[str]]], numbers: dict[str, int] = numbers) -> dict[str, list[list[int]]]:
            coded = tokenizer(batch["tokens"], is_split_into_words=True, truncation=True, max_length=MAX_LENGTH)
            labels = []
            for row, tags in enumerate(batch["tags"]):
                before, ids = None, []
                for word in coded.word_ids(row):
                    ids.append(-100 if word is None or word == before else numbers[tags[word]])
                    before = word
                labels.append(ids)
            return {"input_ids": coded["input_ids"], "labels": labels}

        made = datasets.Dataset.from_dict(rows).map(
            aligned, batched=True, num_proc=2, remove_columns=["tokens", "tags"]
        )
        sentences += len(made)
        tokens += sum(map(len, rows["tokens"]))
    return {"seconds": time.perf_counter() - began, "sentences": sentences, "tokens": tokens}


def check(file: Path) -> dict[str, float]:
    """`biodist data check`, without the table."""
    from biodist.data.check import check_file
    from biodist.data.iob import Source

    began = time.perf_counter()
    report = check_file(Source(file))
    counted = {"sentences": report.counts.sentences, "tokens": report.counts.tokens}
    return {"seconds": time.perf_counter() - began, **counted}


def tokenise(file: Path, model: Path, cache: Path) -> dict[str, float]:
    """The data index of one large file."""
    from biodist.config.recipe import Recipe
    from biodist.data.indexing import build_index

    data = {"labels": ["Disease", "Gene"], "max_length": MAX_LENGTH, "train": [{"path": str(file)}]}
    stated = {"name": "large", "task": "ner", "model": {"name": str(model)}, "data": data, "train": {"epochs": 1}}
    began = time.perf_counter()
    train = build_index(Recipe.model_validate(stated), model, cache).splits["train"]
    return {"seconds": time.perf_counter() - began, "sentences": train.samples, "tokens": train.targets}


# --- material -----------------------------------------------------------------------------------------------------


def write_large(path: Path, size: int) -> None:
    """Tagged sentences of invented words, none the same, until the file has ``size`` bytes."""
    if path.is_file() and path.stat().st_size >= size:
        return
    draw = random.Random(7)
    syllables = ["ba", "do", "ki", "lu", "me", "no", "ra", "si", "tu", "ve", "gli", "oma", "itis"]
    words = [f"{''.join(draw.choices(syllables, k=draw.randint(1, 4)))}" for _ in range(200_000)]
    lines = {
        "O": [f"{word}\tO\n" for word in words],
        "Gene": [f"{word}\tB-Gene\n" for word in words[:20_000]],
        "Disease": [f"{word}\tB-Disease\n{word}\tI-Disease\n" for word in words[20_000:40_000]],
    }
    with path.open("w", encoding="utf-8") as file:
        written = number = 0
        while written < size:
            block = []
            for _ in range(1000):
                number += 1
                block.append(f"{number}\tO\n" + "".join(draw.choices(lines["O"], k=draw.randint(5, 30))))
                block.append(draw.choice(lines[draw.choice(("Gene", "Disease"))]) + "\n")
            text = "".join(block)
            file.write(text)
            written += len(text)


# --- measuring ----------------------------------------------------------------------------------------------------


def measured(command: Sequence[str]) -> dict[str, float]:
    """Runs one case; what it says, and the most memory it and its children held."""
    process = subprocess.Popen([sys.executable, __file__, *command], stdout=subprocess.PIPE, text=True)
    anonymous = resident = 0.0
    while process.poll() is None:
        mine, files = memory_of(process.pid)
        anonymous, resident = max(anonymous, mine), max(resident, mine + files)
        time.sleep(LOOK_S)
    said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RunFailed(f"{' '.join(command)} ended with {process.returncode}")
    return {**json.loads(said.splitlines()[-1]), "anonymous_mb": anonymous / 1e6, "resident_mb": resident / 1e6}


def memory_of(pid: int) -> tuple[float, float]:
    """Bytes of a process and its children: their own, and of files they map."""
    import psutil

    own = files = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith(("RssAnon", "RssShmem")):
                    own += 1024 * int(line.split()[1])
                elif line.startswith("RssFile"):
                    files += 1024 * int(line.split()[1])
    except (psutil.NoSuchProcess, OSError):
        pass
    return own, files


def rows_of(out: Path, commit: Commit) -> list[Row]:
    rows = [Row.model_validate(value) for value in read_json_lines(out)]
    return [row for row in rows if row.commit == commit]


def measure(out: Path, commit: Commit, case: str, repetition: int, command: Sequence[str]) -> None:
    """One case onto the record, unless it is there."""
    if any((row.case, row.repetition) == (case, repetition) for row in rows_of(out, commit)):
        return
    load = os.getloadavg()[0]
    said = measured(command)
    row = Row(commit=commit, case=case, repetition=repetition, machine_load=load, **said)  # type: ignore[arg-type]
    with JsonLines(out) as lines:
        lines.append(row.model_dump(mode="json"))
    print(f"{case} {repetition}: {row.seconds:.2f} s, {row.anonymous_mb:.0f} MB", file=sys.stderr)


def speed(arguments: argparse.Namespace, commit: Commit) -> None:
    refuse_absent(arguments, "data/ner/")
    shared, model = str(arguments.shared.resolve()), str(arguments.model.resolve())
    for repetition in range(arguments.repetitions):
        with tempfile.TemporaryDirectory() as folder:
            own = [("biodist", f"{folder}/own"), ("warm", f"{folder}/own")]
            other = [("datasets", f"{folder}/other")]
            for case, cache in own + other if repetition % 2 else other + own:
                name = "datasets" if case == "datasets" else "biodist"
                measure(arguments.out, commit, case, repetition, ["case", name, shared, model, cache])


def memory(arguments: argparse.Namespace, commit: Commit) -> None:
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "large.tsv"
    try:
        write_large(file, int(arguments.gigabytes * 1e9))
        measure(arguments.out, commit, "check", 0, ["case", "check", str(file)])
        cache = folder / "cache"
        measure(arguments.out, commit, "tokenise", 0, ["case", "tokenise", str(file), str(arguments.model), str(cache)])
    finally:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


def table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| case | seconds (median, least, largest) | of processors | MB | with mapped files | sentences | tokens |"
    yield "|---|---|---|---|---|---|---|"
    for case in (*SPEED, *MEMORY):
        own = [row for row in rows if row.case == case]
        if own:
            clock = [row.seconds for row in own]
            most = (max(row.anonymous_mb for row in own), max(row.resident_mb for row in own))
            yield (
                f"| {case} | {median(clock):.2f} ({min(clock):.2f}, {max(clock):.2f}) "
                f"| {median(row.processor_seconds for row in own):.1f} | {most[0]:,.0f} | {most[1]:,.0f} "
                f"| {own[0].sentences:,} | {own[0].tokens:,} |"
            )
    by_case: Callable[[str], dict[int, float]] = lambda case: {r.repetition: r.seconds for r in rows if r.case == case}  # noqa: E731
    ours, theirs = by_case("biodist"), by_case("datasets")
    if both := [theirs[number] / ours[number] for number in ours if number in theirs]:
        yield f"\n`datasets` takes {median(both):.2f} times as long (least {min(both):.2f}); goal: above 1."
        warm = by_case("warm").values()
        yield f"A warm start takes at most {max(warm):.2f} s; goal: under {GOAL_WARM_S:.0f} s."
    for row in rows:
        if row.case in MEMORY:
            yield f"{row.case}: {row.anonymous_mb:,.0f} MB; goal: under {GOAL_MB:,}."


def run_case(words: Sequence[str]) -> None:
    """One case, in this process."""
    name, *paths = words
    cases: dict[str, Callable[..., dict[str, float]]] = {
        "biodist": build, "datasets": map_datasets, "check": check, "tokenise": tokenise
    }  # fmt: skip
    said = cases[name](*map(Path, paths))
    times = os.times()
    processor = times.user + times.system + times.children_user + times.children_system
    print(json.dumps({**said, "processor_seconds": processor}))


def main() -> None:
    if sys.argv[1:2] == ["case"]:
        run_case(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where the large file lies and stays; else a temporary one")
    add_arguments(parser)
    arguments = parser.parse_args()
    commit = measured_commit()
    (speed if arguments.what == "speed" else memory)(arguments, commit)
    text = "\n".join([f"`{typed_command()}` at {commit_label(commit)}", "", *table(rows_of(arguments.out, commit))])
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except BiodistError as error:
        sys.exit(f"{error}")
