"""Records come back as they were written, and damaged ones are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from biodist.errors import RunFailed
from biodist.run.records import AttemptRecord, Failure, Result

pytestmark = pytest.mark.timeout(30)
FAILURE = Failure(rank=1, time=2.5, kind="hang", message="no progress", step=7, exit_code=3)


def test_records_come_back(tmp_path: Path) -> None:
    attempt = AttemptRecord(
        number=2,
        outcome="failed",
        host="h",
        pid=1,
        world_size=2,
        strategy="zero2",
        started=1.0,
        ended=2.0,
        failure=FAILURE,
    )
    result = Result(
        status="finished",
        steps=10,
        samples_seen=320,
        tokens_seen=9000,
        train_seconds=1.5,
        tokens_per_second=6000.0,
        weights_sha256="ab",
        best_step=5,
        micro_batches=(4, 8),
        metrics={"test": {"f1": 0.5, "types": {"Disease": {"f1": 0.5}}}},
    )
    for record in (FAILURE, attempt, result):
        record.save(tmp_path / "record.json")
        assert type(record).load(tmp_path / "record.json") == record


def test_records_are_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        FAILURE.rank = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Failure.model_validate({**FAILURE.model_dump(), "text": "x"})


def test_a_damaged_record_names_file_and_places(tmp_path: Path) -> None:
    path = tmp_path / "failure-rank-0.json"
    path.write_text('{"rank": "private words", "time": 1, "kind": "error", "message": ""}')
    with pytest.raises(RunFailed, match=r"failure-rank-0\.json: not a Failure \(wrong: rank\)") as caught:
        Failure.load(path)
    assert "private" not in str(caught.value)
    path.write_text('{"rank"')
    with pytest.raises(RunFailed, match="wrong: the whole file"):
        Failure.load(path)
    with pytest.raises(FileNotFoundError):
        Failure.load(tmp_path / "absent")
