"""`biodist data check` as a person runs it."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from biodist.cli.data import data_app
from biodist.errors import EXIT_USER, UserError

GOOD = "APC\tB-Gene\nis\tO\n\ncolon\tB-Disease\ncancer\tI-Disease\n"


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "my corpus [1].tsv"
    path.write_text(GOOD, encoding="utf-8")
    return path


def run(*arguments: object):
    return CliRunner().invoke(data_app, ["check", *map(str, arguments)])


def test_json_of_a_good_file(corpus):
    result = run(corpus, "--format", "iob", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["sentences"], report["tokens"], report["mentions"]) == (2, 4, {"Disease": 1, "Gene": 1})


def test_a_bad_file_is_the_users_mistake_and_its_json_is_whole(corpus):
    corpus.write_text(GOOD + "x\tI-Gene\ny\n", encoding="utf-8")
    result = run(corpus, "--json", "--labels", "Gene, Disease")
    assert isinstance(result.exception, UserError) and result.exception.exit_code == EXIT_USER
    assert [problem["where"] for problem in json.loads(result.stdout)["problems"]] == [f"{corpus}:6", f"{corpus}:7"]


def test_labels_that_name_no_type(corpus):
    result = run(corpus, "--labels", " , ")
    assert isinstance(result.exception, UserError) and "--labels" in str(result.exception)


def test_the_command_line(corpus):
    """In a process of its own: table on standard output, problems on standard error, exit code 2, no traceback."""
    script = "import sys; from biodist.cli.data import data_app; from biodist.cli.say import complain\n"
    script += "from biodist.errors import BiodistError\n"
    script += "try: data_app()\nexcept BiodistError as error: complain(error); sys.exit(error.exit_code)"

    def check(*arguments):
        command = [sys.executable, "-c", script, "check", str(corpus), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    good = check("--labels", "Disease,Gene,Species")
    assert good.returncode == 0 and "mentions of Gene" in good.stdout and "my corpus [1].tsv" in good.stdout
    assert "Species never occurs" in good.stderr
    bad = check("--labels", "Diseases")
    assert bad.returncode == EXIT_USER and "nearest declared: Diseases" in bad.stderr
    assert "Traceback" not in bad.stderr and "colon" not in bad.stdout + bad.stderr


NLI_ROWS = [("He has no pain.", "He is well.", "neutral"), ("a", "b", "-"), ("a", "", "neutrl")]


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    names = ("sentence1", "sentence2", "gold_label")
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in NLI_ROWS))
    return path


def test_pairs_are_counted_and_their_faults_named(pairs):
    result = run(pairs, "--format", "jsonl", "--labels", "neutral,entailment", "--json")
    assert isinstance(result.exception, UserError)
    report = json.loads(result.stdout)
    assert (report["samples"], report["dropped"], report["empty"]) == (1, 1, 1)
    assert [problem["where"] for problem in report["problems"]] == [f"{pairs}:3", f"{pairs}:3"]
    assert "neutrl" not in result.stdout
    table = run(pairs, "--format", "jsonl").stdout
    assert "of class neutral" in table and "dropped, without a majority label" in table


def test_columns_by_name_and_by_position(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("note,kind\nno pain,well\n")
    options = ("--format", "csv", "--task", "classification", "--json")
    assert json.loads(run(path, *options, "--columns", "text=note, label=kind").stdout)["classes"] == {"well": 1}
    found = json.loads(run(path, *options, "--columns", "text=1,label=2").stdout)["classes"]
    assert found == {"kind": 1, "well": 1}
    with pytest.raises(UserError, match="--columns: 'txt=1' names no column"):
        raise run(path, *options, "--columns", "txt=1").exception
