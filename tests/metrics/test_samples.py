"""samples.jsonl: digests free of order, and a chain in which no line can be changed unseen."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biodist.metrics.events import StepEvent
from biodist.metrics.samples import SampleChain, samples_digest, verify_chain

pytestmark = pytest.mark.timeout(60)


def write_samples(path, steps):
    chain = SampleChain()
    events = [
        StepEvent(step, 1 + step // 4, 2, samples_digest([f"a:{step}", f"b:{step}"]), 1.0, 0.1, 1.0, 9, 2, 5, 0.1)
        for step in range(1, steps + 1)
    ]
    path.write_bytes(b"".join(chain.line(event) for event in events))


@given(ids=st.lists(st.text(alphabet="abc:0123", min_size=1)), seed=st.randoms())
@settings(max_examples=50, deadline=None)
def test_digest_is_of_the_ids_and_not_of_their_order(ids, seed):
    shuffled = list(ids)
    seed.shuffle(shuffled)
    assert samples_digest(shuffled) == samples_digest(iter(ids))
    assert samples_digest([*ids, "another"]) != samples_digest(ids)


def test_digest_is_what_the_contract_says():
    assert samples_digest(["ncbi:2", "ncbi:10"]) == hashlib.sha256(b"ncbi:10\nncbi:2").hexdigest()


def test_lines_are_what_the_contract_says(tmp_path):
    path = tmp_path / "samples.jsonl"
    write_samples(path, 2)
    before = ""
    for raw in path.read_text().splitlines():
        line = json.loads(raw)
        assert list(line) == ["step", "epoch", "count", "digest", "chain"]
        chain = line.pop("chain")
        canonical = json.dumps(line, sort_keys=True, separators=(",", ":"))
        assert chain == hashlib.sha256(f"{before}\n{canonical}".encode()).hexdigest()
        before = chain
    assert verify_chain(path) is None


def test_an_empty_file_verifies(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.touch()
    assert verify_chain(path) is None


@given(line=st.integers(1, 6), field=st.sampled_from(["step", "epoch", "count", "digest", "chain"]))
@settings(max_examples=30, deadline=None)
def test_a_changed_field_is_found_at_its_line(tmp_path_factory, line, field):
    path = tmp_path_factory.mktemp("samples") / "samples.jsonl"
    write_samples(path, 6)
    lines = [json.loads(raw) for raw in path.read_text().splitlines()]
    value = lines[line - 1][field]
    lines[line - 1][field] = value + 1 if isinstance(value, int) else "f" * 64
    path.write_text("".join(json.dumps(item) + "\n" for item in lines))
    problem = verify_chain(path)
    assert problem is not None and problem.where == f"{path}:{line}"


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (lambda lines: lines[:1] + lines[2:], 2, "the step must be 2, but is 3"),
        (lambda lines: lines[:2] + lines[1:], 3, "the step must be 3, but is 2"),
        (lambda lines: [*lines[:3], lines[3][:-1]], 4, "the line is torn"),
        (lambda lines: [lines[0], "lymphoma\n", *lines[2:]], 2, "the line is not JSON"),
        (lambda lines: [lines[0], '{"step": 2}\n', *lines[2:]], 2, "the line must have exactly the fields"),
    ],
)
def test_lines_lost_doubled_or_torn_are_named(tmp_path, damage, where, what):
    path = tmp_path / "samples.jsonl"
    write_samples(path, 4)
    path.write_text("".join(damage(path.read_text().splitlines(keepends=True))))
    problem = verify_chain(path)
    assert problem is not None
    assert problem.where == f"{path}:{where}" and what in problem.what
    assert "lymphoma" not in str(problem)
