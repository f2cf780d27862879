"""Tables of every scalar: CSV and Parquet hold the points, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyarrow import csv, parquet

from biodist.aggregation.exports import export_scalars
from biodist.aggregation.runs import find_runs, read_run
from biodist.errors import UserError


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_points_are_in_the_table(tmp_path: Path, events: Any, kind: str) -> None:
    events.own_run(tmp_path / "runs/a", [(0, 25), (20, 30)], {"train": {"seed": 7}})
    events.write(tmp_path / "runs/b/events.out.tfevents.1", [events.scalar("loss", 3, 0.1, 5.5)])
    events.write(tmp_path / "runs/c/events.out.tfevents.1", [events.version()])
    out = tmp_path / f"table.{kind}"
    places = find_runs([tmp_path / "runs"])
    done = export_scalars(places, out, ["train.seed"])
    rows = (csv.read_csv(out) if kind == "csv" else parquet.read_table(out)).to_pylist()
    found = {(row["run"], row["tag"], row["step"], row["time"], row["value"]) for row in rows}
    wanted = {
        (place.name, tag, *one.point(index)[:1], one.point(index).time, one.point(index).value)
        for place in places
        for tag, one in read_run(place).series.items()
        for index in range(len(one))
    }
    assert found == wanted and len(rows) == len(wanted) == done.points and done.runs == 3
    assert {(row["run"], str(row["train.seed"])) for row in rows} <= {("a", "7"), ("b", "None"), ("b", "")}


def test_an_older_table_is_replaced_whole_or_not_at_all(tmp_path: Path, events: Any) -> None:
    events.own_run(tmp_path / "runs/a", [(0, 5)])
    out = tmp_path / "table.csv"
    out.write_text("older")
    with pytest.raises(RuntimeError):
        export_scalars(_broken(find_runs([tmp_path / "runs"])), out)
    assert out.read_text() == "older" and {path.name for path in tmp_path.iterdir()} == {"runs", "table.csv"}


def _broken(places: Any) -> Any:
    yield from places
    raise RuntimeError


def test_names_that_say_no_format(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        export_scalars([], tmp_path / "none/table.xlsx")
    assert len(caught.value.problems) == 2


def test_a_run_that_cannot_be_read_is_left_out(tmp_path: Path, events: Any) -> None:
    run = events.own_run(tmp_path / "runs/a", [(0, 5)])
    run.attempts()[0].events(0).write_text("nonsense\n")
    events.own_run(tmp_path / "runs/b", [(0, 5)])
    done = export_scalars(find_runs([tmp_path / "runs"]), tmp_path / "t.parquet")
    assert done.runs == 1 and [problem.where for problem in done.problems] == [str(run.root)]
