"""The table at the end of a run: every type, the baselines beside, lines that can be pasted."""

import shlex
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from biodist.cli.table import print_result, tensorboard_line

pytestmark = pytest.mark.timeout(30)

TYPES = {
    "Disease": {"precision": 0.9, "recall": 0.8, "f1": 0.847, "support": 12},
    "Gene": {"precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 4},
}
TEST = {"precision": 0.8, "recall": 0.7, "f1": 0.747, "accuracy": 0.99, "loss": 0.1, "types": TYPES}
RESULT = {
    "status": "finished",
    "steps": 120,
    "best_step": 100,
    "tokens_per_second": 12345.6,
    "metrics": {"validation": {**TEST, "f1": 0.111}, "test": TEST},
}


def printed(result, run=Path("runs/quickstart-1234abcd"), baselines=None, width=70):
    console = Console(width=width, record=True, file=StringIO())
    print_result(console, result, run, baselines)
    return console.export_text().splitlines()


def cells(lines, first):
    (line,) = [line for line in lines if line.strip("│┃ ").startswith(first)]
    return [cell.strip() for cell in line.strip("│┃").split("│")]


def test_a_row_a_type_one_over_all_and_the_baselines():
    lines = printed(
        RESULT, baselines={"dictionary": {"precision": 0.5, "recall": 0.3, "f1": 0.375}, "linear": {"f1": 0.6}}
    )
    assert cells(lines, "Disease") == ["Disease", "0.900", "0.800", "0.847", "12"]
    assert cells(lines, "Gene") == ["Gene", "0.500", "0.250", "0.333", "4"]
    assert cells(lines, "all types") == ["all types", "0.800", "0.700", "0.747", "16"]
    assert cells(lines, "dictionary") == ["dictionary", "0.500", "0.300", "0.375", ""]
    assert cells(lines, "linear") == ["linear", "", "", "0.600", ""]
    assert "scores on test" in lines[0]
    assert "run          finished, 120 steps, best at step 100, 12,346 tokens/s" in lines


def test_lines_to_paste_are_whole_in_a_narrow_terminal_and_quoted():
    run = Path("runs") / ("of [bold]mine[/bold] " + "x" * 90)
    lines = printed(RESULT, run, width=40)
    (line,) = [line for line in lines if line.startswith("TensorBoard")]
    assert shlex.split(line)[1:] == ["tensorboard", "--logdir", f"{run}/tensorboard"]
    assert f"folder       {run}" in lines
    assert tensorboard_line(Path("runs/a")) == "tensorboard --logdir runs/a/tensorboard"


def test_validation_where_test_was_not_scored_and_other_tasks_row_by_row():
    scores = {"accuracy": 0.8, "loss": "nan"}
    lines = printed({**RESULT, "metrics": {"validation": scores}}, baselines={"majority": {"accuracy": 1 / 3}})
    assert "scores on validation" in lines[0]
    assert cells(lines, "accuracy") == ["accuracy", "0.800", "0.333"]
    assert cells(lines, "loss") == ["loss", "nan", ""]


def test_a_run_without_scores_has_its_lines_alone():
    lines = printed({"status": "stopped", "steps": 7, "metrics": {}})
    assert lines[0] == "run          stopped, 7 steps"
    assert len(lines) == 3


CLASSES = {
    "accuracy": 0.75,
    "precision": 0.7,
    "recall": 0.6,
    "f1": 0.65,
    "matthews": 0.5,
    "loss": 0.4,
    "classes": {
        "yes": {"precision": 0.9, "recall": 0.8, "f1": 0.847, "support": 3},
        "no": {"precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 4},
    },
    "confusion": [[2, 1], [0, 4]],
}


def test_classes_have_rows_what_has_no_column_a_line_and_the_confusion_a_table():
    lines = printed({**RESULT, "metrics": {"test": CLASSES}}, baselines={"majority": {"accuracy": 4 / 7, "f1": 0.364}})
    by_name = [line for line in lines if line.strip("│ ").startswith(("yes", "no"))]
    assert [[cell.strip() for cell in line.strip("│").split("│")] for line in by_name] == [
        ["yes", "0.900", "0.800", "0.847", "", "3"],
        ["no", "0.500", "0.250", "0.333", "", "4"],
        ["yes", "2", "1"],
        ["no", "0", "4"],
    ]
    assert cells(lines, "all classes") == ["all classes", "0.700", "0.600", "0.650", "0.750", "7"]
    assert cells(lines, "majority") == ["majority", "", "", "0.364", "0.571", ""]
    assert "matthews 0.500  loss 0.400" in [line.strip() for line in lines]


def test_many_classes_have_no_confusion_and_sets_none_to_show():
    many = {str(number): {"f1": 0.5, "support": 1} for number in range(11)}
    for scores in ({**CLASSES, "classes": many, "confusion": [[0] * 11] * 11}, {"f1": 0.5, "classes": many}):
        lines = printed({**RESULT, "metrics": {"test": scores}})
        assert not any("predicted" in line for line in lines)
        assert cells(lines, "all classes")[3] == f"{scores['f1']:.3f}"


def test_corpora_have_rows_below_those_of_the_types():
    corpora = {"ncbi": {**TEST, "types": {"Disease": TYPES["Disease"]}}, "bc2gm": {"f1": 0.25, "types": {}}}
    lines = printed({**RESULT, "metrics": {"test": {**TEST, "corpora": corpora, "macro_f1": 0.4985}}})
    assert cells(lines, "corpus ncbi") == ["corpus ncbi", "0.800", "0.700", "0.747", "12"]
    assert cells(lines, "corpus bc2gm") == ["corpus bc2gm", "", "", "0.250", "0"]
    assert cells(lines, "mean of the corpora") == ["mean of the corpora", "", "", f"{0.4985:.3f}", ""]
    assert cells(lines, "all types") == ["all types", "0.800", "0.700", "0.747", "16"]
