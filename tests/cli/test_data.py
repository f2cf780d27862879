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


SPANS = [
    {"id": "d1", "text": "APC in colon cancer. Mice had gout twice in all.", "entities": [
        {"start": 0, "end": 3, "type": "Gene"}, {"start": 7, "end": 19, "type": "Disease"},
        {"start": 13, "end": 19, "type": "Disease"}]},
    {"id": "d2", "text": "Breast and ovarian cancer.", "entities": [
        {"start": 0, "end": 25, "type": "Disease", "pieces": [[0, 6], [19, 25]]}]},
]  # fmt: skip


@pytest.fixture
def spans(tmp_path):
    path = tmp_path / "spans.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in SPANS))
    return path


def data(*arguments: object):
    return CliRunner().invoke(data_app, [str(argument) for argument in arguments])


def test_spans_are_checked(spans):
    report = json.loads(run(spans, "--format", "jsonl", "--task", "ner", "--json").stdout)
    assert (report["documents"], report["sentences"], report["overlapping"], report["discontinuous"]) == (2, 3, 1, 1)
    assert report["mentions"] == {"Disease": 3, "Gene": 1} and report["leaks"] == [] and report["imbalance"] == 3.0
    table = run(spans, "--format", "jsonl", "--task", "ner", "--map", "Gene=O").stdout
    assert "left out: renamed to O" in table and "are discontinuous" in table


def test_undeclared_types_of_spans_exit_2_without_the_text(spans):
    result = run(spans, "--format", "jsonl", "--task", "ner", "--labels", "Diseases")
    assert isinstance(result.exception, UserError)
    assert "nearest declared: Diseases" in str(result.exception) and "colon" not in str(result.exception)


def test_leaks_between_files(tmp_path):
    sentence = "the\tO\npatients\tO\nhad\tO\nsevere\tO\ngout\tB-Disease\n\n"
    for name, text in (("a.tsv", sentence + "x\tO\n"), ("b.tsv", sentence * 2), ("c.tsv", "y\tO\n")):
        (tmp_path / name).write_text(text)
    report = json.loads(run(*(tmp_path / name for name in ("a.tsv", "b.tsv", "c.tsv")), "--json").stdout)
    assert len(report["files"]) == 3 and report["files"][1]["duplicates"] == 1
    (leak,) = report["leaks"]
    assert leak["files"] == [str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")]
    assert (leak["sentences"], leak["occurrences"]) == (1, [1, 2])
    assert "in two files" in run(tmp_path / "a.tsv", tmp_path / "b.tsv").stdout


def test_leaks_between_files_of_pairs(tmp_path):
    premises = [f"He has no pain {number}." for number in range(3)]
    rows = [{"sentence1": premise, "sentence2": "He is well.", "gold_label": "neutral"} for premise in premises]
    for name, some in (("train.jsonl", rows[:2]), ("test.jsonl", rows[1:])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in some))
    files = (tmp_path / "train.jsonl", tmp_path / "test.jsonl", "--format", "jsonl")
    (leak,) = json.loads(run(*files, "--json").stdout)["leaks"]
    assert (leak["sentences"], leak["occurrences"]) == (1, [1, 1])
    assert "in two files" in run(*files).stdout


def test_tagged_documents_without_a_sentence_are_counted(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("-DOCSTART-\tO\n\n-DOCSTART-\tO\n\na\tO\n\n-DOCSTART-\tO\n")
    assert json.loads(run(path, "--json").stdout)["empty"] == 2
    assert "3 (2 empty)" in run(path).stdout


RECIPE = """\
name: tiny
task: ner
model: {init: scratch, scratch: {vocab_size: 64, max_positions: 16}}
data:
  max_length: 8
  stride: 2
  labels: [Disease, Gene]
  train: [{path: SPANS, format: jsonl, name: c}]
train: {epochs: 1}
"""


def test_a_recipes_files_and_what_max_length_cuts(spans, tmp_path, monkeypatch):
    monkeypatch.setenv("BIODIST_CACHE", str(tmp_path / "cache"))
    (tmp_path / "r.yaml").write_text(RECIPE.replace("SPANS", str(spans)))
    report = json.loads(run("--recipe", tmp_path / "r.yaml", "--json").stdout)
    train = report["windows"]["train"]
    assert report["documents"] == 2 and train["samples"] == 3 and train["several"] >= 1 and train["longest"] <= 8
    assert "windows of 8 tokens" in run("--recipe", tmp_path / "r.yaml").stdout
    assert "baseline" not in data("stats", "--recipe", tmp_path / "r.yaml").stdout
    for arguments in ((), ("--recipe", tmp_path / "r.yaml", spans)):
        with pytest.raises(UserError, match="--recipe"):
            raise run(*arguments).exception


def test_convert_there_and_back(spans, tmp_path):
    tagged, back = tmp_path / "x.tsv", tmp_path / "x.xml"
    result = data("convert", spans, "--from", "jsonl", "--to", "iob2", "--out", tagged)
    assert result.exit_code == 0 and "3 sentences with 3 mentions" in result.stdout
    assert "stretched over their gaps" in result.stderr and "overlap a longer one" in result.stderr
    found = json.loads(data("convert", tagged, "--to", "bioc", "--out", back, "--json").stdout)
    assert (found["units"], found["mentions"]) == (2, 3) and back.read_bytes().startswith(b"<?xml")
    with pytest.raises(UserError, match="discontinuous"):
        raise data("convert", spans, "--from", "jsonl", "--to", "pubtator", "--out", tmp_path / "y").exception


def test_stats_of_training_and_test(corpus, pairs):
    found = json.loads(data("stats", corpus, corpus, "--json").stdout)["files"]
    assert found[0]["baselines"] == {} and found[1]["baselines"]["dictionary"]["f1"] == 1.0
    assert found[1]["types"]["Gene"] == {"mentions": 1, "names": 1, "unseen": 0.0}
    table = data("stats", corpus, corpus).stdout
    assert "not in training" in table and "dictionary" in table and "majority" in table
    pairs.write_text(json.dumps({"sentence1": "a", "sentence2": "b", "gold_label": "neutral"}) + "\n")
    texts = json.loads(data("stats", pairs, pairs, "--format", "jsonl", "--json").stdout)["files"]
    assert texts[1]["majority"] == 1.0 and texts[0]["classes"] == {"neutral": 1}


def test_what_is_in_a_recipe_s_files_is_said_though_its_encoder_is_none(corpus, tmp_path):
    """Only the windows need the encoder's tokenizer."""
    (tmp_path / "empty").mkdir()
    entry = f"[{{path: '{corpus}', name: one}}]"
    (tmp_path / "r.yaml").write_text(
        f"name: r\ntask: ner\nmodel: {{name: {tmp_path}/empty}}\ndata: {{labels: [Disease, Gene], train: {entry}, "
        f"validation: {entry}}}\ntrain: {{epochs: 1}}\n"
    )
    result = run("--recipe", str(tmp_path / "r.yaml"))
    assert isinstance(result.exception, UserError) and "empty" in str(result.exception)
    assert result.stdout.count("mentions of Gene") == 2
