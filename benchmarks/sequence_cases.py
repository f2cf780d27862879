"""What `nli.py` trains: real corpora cut into training, validation and test part, and a recipe for each task."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from biodist.errors import Problem, UserError
from biodist.run.durable import write_text

HELD_OUT = 10  # one in so many of the training part is held out for validation
MESH_TERMS = 12
OFFICIAL_TEST = "test_ground_truth"
NLI_LABELS = ("entailment", "neutral", "contradiction")
DECISIONS = ("yes", "no", "maybe")
Parts = Mapping[str, Path]  # by split
Abstracts = Mapping[str, Mapping[str, Any]]  # PubMedQA's samples by PubMed id


@dataclass(frozen=True)
class Case:
    """One task on one corpus."""

    name: str
    score: str  # what is compared: a score of the result
    recipe: Path


@dataclass(frozen=True)
class Cost:
    """How long a case trains, on how much of each text. Chosen by validation parts alone."""

    epochs: int
    batch: int
    learning_rate: float
    max_length: int


PAIRS = Cost(epochs=3, batch=16, learning_rate=1e-4, max_length=128)
DECISION = Cost(epochs=12, batch=8, learning_rate=5e-5, max_length=128)  # at 1e-4 and more it stays with the majority
MESH = Cost(epochs=10, batch=8, learning_rate=1e-4, max_length=192)


@dataclass(frozen=True)
class Ground:
    """Where corpora are found, where their parts and recipes are written, and the encoder."""

    shared: Path
    out: Path
    encoder: Path

    def cases(self) -> list[Case]:
        """Writes parts and recipes, always the same. Raises UserError with every corpus that is missing."""
        files = [*(self._snli(part) for part in ("dev", "test")), *map(self._pubmedqa, ("ori_pqal", OFFICIAL_TEST))]
        if missing := [path for path in files if not path.is_file()]:
            raise UserError(Problem(str(path), "there is no such file", "see benchmarks/README.md") for path in missing)
        self.out.mkdir(parents=True, exist_ok=True)
        abstracts, train = self._abstracts()
        return [
            self._case("snli", "accuracy", "nli", NLI_LABELS, self._pairs(), PAIRS),
            self._case("pubmedqa", "macro_f1", "classification", DECISIONS, abstracts, DECISION),
            self._case("mesh", "micro_f1", "classification", _frequent_terms(train), abstracts, MESH),
        ]

    def _snli(self, part: str) -> Path:
        return self.shared / "data/nli/SNLI-sample" / f"{part}.jsonl"

    def _pubmedqa(self, name: str) -> Path:
        return self.shared / "data/qa/PubMedQA" / f"{name}.json"

    def _pairs(self) -> Parts:
        """A caption has several pairs: they stay together, or validation would know premises of training."""
        lines = self._snli("dev").read_text(encoding="utf-8").splitlines()
        captions = [str(json.loads(line)["captionID"]) for line in lines]
        held_out = _held_out(captions)
        parts: dict[str, list[str]] = {"train": [], "validation": []}
        for line, caption in zip(lines, captions, strict=True):
            parts["validation" if caption in held_out else "train"].append(line + "\n")
        written = {split: self._written(f"snli-{split}.jsonl", "".join(of)) for split, of in parts.items()}
        return {**written, "test": self._snli("test").resolve()}

    def _abstracts(self) -> tuple[Parts, Abstracts]:
        """The 500 abstracts of the official test; of the other 500 a tenth of each decision for validation."""
        samples = json.loads(self._pubmedqa("ori_pqal").read_text(encoding="utf-8"))
        official = set(json.loads(self._pubmedqa(OFFICIAL_TEST).read_text(encoding="utf-8")))
        held_out: set[str] = set()
        for decision in DECISIONS:
            of = [key for key in samples if key not in official and samples[key]["final_decision"] == decision]
            held_out |= _held_out(of)
        parts: dict[str, dict[str, Any]] = {"train": {}, "validation": {}, "test": {}}
        for key, sample in samples.items():
            split = "test" if key in official else "validation" if key in held_out else "train"
            parts[split][key] = sample
        written = {split: self._written(f"pubmedqa-{split}.json", json.dumps(of)) for split, of in parts.items()}
        return written, parts["train"]

    def _written(self, name: str, text: str) -> Path:
        path = (self.out / name).resolve()
        write_text(path, text)
        return path

    def _case(
        self,
        name: str,
        score: str,
        task: str,
        labels: Iterable[str],
        parts: Parts,
        cost: Cost,
    ) -> Case:
        entry = {"format": "jsonl" if task == "nli" else "pubmedqa"}
        of_terms = {"columns": {"label": "MESHES"}} if name == "mesh" else {}
        recipe = {
            "name": name,
            "task": task,
            "model": {"name": str(self.encoder)},
            "data": {
                "max_length": cost.max_length,
                "labels": list(labels),
                **({"multi_label": True} if of_terms else {}),
                **{split: [{"path": str(path), **entry, **of_terms}] for split, path in parts.items()},
            },
            "train": {
                **{"epochs": cost.epochs, "global_batch": cost.batch, "learning_rate": cost.learning_rate},
                "weight_decay": 0.01,
                "precision": "bf16",
            },
            "evaluate": {"every": "epoch", "metric": score},
        }
        return Case(name, score, self._written(f"{name}.yaml", _yaml(recipe)))


def _yaml(recipe: Mapping[str, Any]) -> str:
    """Without anchors: a value that stands in several places is written out in each."""
    text: str = yaml.safe_dump(json.loads(json.dumps(recipe)), sort_keys=False)
    return text


def _held_out(keys: Iterable[str]) -> set[str]:
    """One key in ten: those whose digests come first, so that they are the same on every machine."""
    ordered = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).hexdigest())
    return set(ordered[: (len(ordered) + 4) // HELD_OUT])  # rounded: PubMedQA's 500 become 450 and 50


def _frequent_terms(train: Abstracts) -> list[str]:
    """By the training part alone."""
    counts = Counter(term for sample in train.values() for term in set(sample["MESHES"]))
    return sorted(counts, key=lambda term: (-counts[term], term))[:MESH_TERMS]
