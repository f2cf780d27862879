"""The Hugging Face model card of a trained run: what its scores are, and what they were reached with.

The head is huggingface_hub's own (`ModelCardData`), with the scores of the test split (validation's where none was
scored) as a `model-index`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from biodist import __version__
from biodist.errors import Problem, UserError
from biodist.report.conduct import command_of
from biodist.report.quantities import number, spread_score
from biodist.report.results import best_table, breakdowns, epochs_table, score_name, splits_of
from biodist.report.study import SEED, TEST, Group, Study, Subject
from biodist.run.durable import write_text

NAME = "README.md"
MARK = "<!-- written by `biodist report --card`, which replaces this file -->"
_PIPELINES = {"ner": "token-classification", "nli": "text-classification", "classification": "text-classification"}
_HYPER_PARAMETERS = (
    "train.learning_rate",
    "train.schedule",
    "train.warmup_ratio",
    "train.global_batch",
    "train.epochs",
    "train.max_steps",
    "train.weight_decay",
    "train.max_grad_norm",
    "train.precision",
    "model.dropout",
    "data.max_length",
    SEED,
)


def write_cards(study: Study) -> list[Path]:
    """Beside the exported model of every finished run of ours; gives the files.

    Raises UserError when there is none, or a README.md there is somebody's own; nothing is written then. OSError.
    """
    cards = {
        subject.run.model / NAME: card(study, group, subject)
        for group in study.groups
        for subject in group.members
        if subject.ours and subject.view.status == "finished" and subject.run.model.is_dir()
    }
    if not cards:
        what = "has no finished run with a model folder"
        raise UserError(Problem(study.title, what, "train it to its end with `biodist train`"))
    if problems := [problem for path in cards if (problem := _foreign(path)) is not None]:
        raise UserError(problems)
    for path, text in cards.items():
        write_text(path, text)
    return list(cards)


def _foreign(path: Path) -> Problem | None:
    if not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace"):
        return None
    return Problem(str(path), "is a card that biodist did not write", "move it away, or copy what you need from it")


def card(study: Study, group: Group, subject: Subject) -> str:
    """Head and text."""
    return f"---\n{_head(study, subject)}\n---\n\n{MARK}\n\n" + "\n\n".join(_text(study, group, subject)) + "\n"


def _head(study: Study, subject: Subject) -> str:
    from huggingface_hub.repocard_data import EvalResult, ModelCardData

    task = _pipeline(subject)
    split = _split(subject)
    scores = {
        name: value
        for name, value in subject.scores(split).items()
        if isinstance(value, int | float) and name != "loss"
    }
    names = _corpora(subject, split)
    results = [
        EvalResult(
            task_type=task,
            task_name=task.replace("-", " ").capitalize(),
            dataset_type="-".join(names).lower().replace(" ", "-"),
            dataset_name=", ".join(names),
            dataset_split=split,
            metric_type=name,
            metric_name=score_name(name),
            metric_value=round(float(value), 6),
        )
        for name, value in scores.items()
    ]
    base = _base_model(subject)
    data = ModelCardData(
        model_name=_model_name(subject),
        library_name="transformers",
        pipeline_tag=task,
        tags=["biodist", str(subject.view.settings.get("task", ""))],
        base_model=base,
        metrics=list(scores),
        eval_results=results,
    )
    return str(data.to_yaml()).strip()


def _pipeline(subject: Subject) -> str:
    return _PIPELINES.get(str(subject.view.settings.get("task")), "text-classification")


def _split(subject: Subject) -> str:
    return splits_of([subject])[-1] if splits_of([subject]) else TEST


def _model_name(subject: Subject) -> str:
    return str(subject.view.settings.get("name", subject.name))


def _corpora(subject: Subject, split: str) -> list[str]:
    """Names of the split's corpora, without their folders."""
    if subject.plan is None:
        return [_model_name(subject)]
    return list(dict.fromkeys(entry.corpus for entry in getattr(subject.plan.recipe.data, split)))


def _base_model(subject: Subject) -> str | None:
    """A hub id; a folder on somebody's disk names nothing to others."""
    name = subject.view.settings.get("model.name")
    return name if isinstance(name, str) and name.count("/") == 1 and not Path(name).exists() else None


def _text(study: Study, group: Group, subject: Subject) -> Iterator[str]:
    made_from = _base_model(subject) or subject.view.settings.get("model.name")
    origin = f"Fine-tuned from `{Path(str(made_from)).name if not _base_model(subject) else made_from}`"
    yield f"# {_model_name(subject)}"
    yield (origin if made_from else "Trained from nothing") + (
        f" on {', '.join(_corpora(subject, 'train'))} with biodist {__version__}. These are the weights of step "
        f"{number(subject.view.result.best_step if subject.view.result else None)}, the best by "
        f"{score_name(study.metric)} on validation."
    )
    yield "## Scores"
    alone = Study(subject.name, (subject,), (Group("", 0, {}, (subject,)),), study.metric, study.mode, (), ())
    yield best_table(alone).markdown()
    values = [value for value in group.scores(_split(subject), study.metric, study.mode) if value is not None]
    if len(values) > 1:
        yield (
            f"Over {len(values)} runs like this one: {score_name(study.metric)} on {_split(subject)} "
            f"{spread_score(values)} (mean ± standard deviation, n − 1)."
        )
    for table in breakdowns(alone.best, _split(subject)):
        yield f"### {table.title.capitalize()}"
        yield table.markdown()
    if _pipeline(subject) == "token-classification":
        yield (
            "Scored is the likeliest sequence of tags in which every I- continues a mention. The highest logit of each "
            "word alone is another one where it makes no such sequence."
        )
    if (epochs := epochs_table(subject)) is not None:
        yield "## Training"
        yield epochs.markdown()
        yield epochs.note
    yield from _origin(subject)
    yield (
        "## Limits\n\nThe scores hold for the corpora named above. Nothing here says how the model does on other text, "
        "and nothing here makes it fit for decisions about patients."
    )


def _origin(subject: Subject) -> Iterator[str]:
    settings = subject.view.settings
    rows = "\n".join(f"- {key}: {settings[key]}" for key in _HYPER_PARAMETERS if key in settings)
    yield f"### Hyper-parameters\n\n{rows}"
    if (command := command_of(subject)) is not None:
        yield f"### Command\n\n```\n{command}\n```"
    if (made := subject.provenance) is not None:
        versions = [f"- biodist {made.biodist}", *(f"- {name} {version}" for name, version in made.libraries.items())]
        data = [f"- {name}: SHA-256 `{digest}`" for name, digest in made.data.items()]
        yield "### Versions\n\n" + "\n".join(versions)
        yield "### Data\n\n" + "\n".join(data)
