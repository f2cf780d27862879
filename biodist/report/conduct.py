"""The tables of how runs went: time, attempts, ranks, and what it takes to make them again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime

from biodist.report.goodput import PARTS, Goodput
from biodist.report.quantities import ABSENT, duration, gigabytes, number, percent
from biodist.report.stragglers import SLOW
from biodist.report.study import Subject
from biodist.report.tables import Column, Table
from biodist.run.records import AttemptRecord

SHOWN_RUNS = 50


def goodput_table(good: Goodput) -> Table:
    """Parts of the wall time, and their sum."""
    rows: list[tuple[str, ...]] = [
        (part, duration(seconds), percent(seconds, good.wall_s), PARTS[part])
        for part, seconds in good.seconds.items()
        if seconds or part in ("training", "lost")
    ]
    rows.append(("all", duration(good.wall_s), percent(good.wall_s, good.wall_s), "wall time"))
    columns = (Column("part", number=False), Column("time"), Column("of the wall time"), Column("is", number=False))
    note = f"{goodput_line(good)}."
    return Table("", columns, tuple(rows), frozenset({len(rows) - 1}), note)


def goodput_line(good: Goodput) -> str:
    """In one line."""
    share = percent(good.seconds["training"], good.machine_s)
    repeated = f"{good.steps.repeated:,} of {good.steps.kept + good.steps.repeated:,} steps were made again"
    return f"goodput {share} of the {duration(good.machine_s)} that an attempt was alive was training; {repeated}"


def attempts_table(subjects: Sequence[Subject]) -> Table | None:
    """Every attempt of every run; None where no run has any."""
    rows = [
        (*([subject.name] if len(subjects) > 1 else []), *_attempt(record))
        for subject in subjects[:SHOWN_RUNS]
        if subject.timeline
        for record in subject.timeline.attempts
    ]
    if not rows:
        return None
    columns = (
        *([Column("run", number=False)] if len(subjects) > 1 else []),
        Column("attempt"),
        Column("outcome", number=False),
        Column("began", "UTC", number=False),
        Column("lasted"),
        Column("from step"),
        Column("to step"),
        Column("processes"),
        Column("strategy", number=False),
        Column("where", number=False),
        Column("why it ended", number=False),
    )
    return Table("", columns, tuple(rows))


def _attempt(record: AttemptRecord) -> tuple[str, ...]:
    job = f"job {record.job}" + (f", restart {record.restart}" if record.restart else "") if record.job else ""
    return (
        str(record.number),
        outcome(record),
        moment(record.started),
        duration(record.ended - record.started) if record.ended is not None else ABSENT,
        number(record.resumed_step),
        number(record.last_step),
        str(record.world_size),
        record.strategy,
        ", ".join(part for part in (record.host, job) if part),
        _why(record),
    )


def outcome(record: AttemptRecord) -> str:
    """A word for how it ended; an attempt whose launcher was killed never got to say so."""
    return "running, or killed" if record.outcome == "running" else record.outcome


def _why(record: AttemptRecord) -> str:
    if record.failure is not None:
        step = f", step {record.failure.step}" if record.failure.step is not None else ""
        return f"rank {record.failure.rank}{step}: {record.failure.message}"
    return record.stopped_by or ""


def moment(seconds: float) -> str:
    """UNIX seconds as a date and a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def slow_ranks(subject: Subject) -> list[str]:
    """A line for each slow rank."""
    return [
        f"slow: rank {rank.rank} of {subject.name}, {_ratio(rank.against_median)} × the ranks' median speed, "
        f"{_ratio(rank.against_past)} × its own past"
        for rank in subject.ranks
        if rank.slow
    ]


def stragglers_table(subject: Subject) -> Table | None:
    """A row a rank of the newest attempt; None where the ranks told no pace."""
    if not subject.ranks:
        return None
    rows = tuple(
        (
            str(rank.rank),
            number(rank.tokens_per_second, 3),
            _ratio(rank.against_median),
            _ratio(rank.against_past),
            percent(rank.waiting_share, 1.0),
            gigabytes(rank.peak_memory_bytes),
            "slow" if rank.slow else "",
        )
        for rank in subject.ranks
    )
    columns = (
        Column("rank"),
        Column("forward speed", "tokens/s"),
        Column("against the median", "of ranks, ×"),
        Column("against its past", "×"),
        Column("waiting for others", "of step time"),
        Column("peak memory", "GB"),
        Column("", number=False),
    )
    slow = frozenset(number for number, rank in enumerate(subject.ranks) if rank.slow)
    note = (
        f"1 is as fast as the reference; below {SLOW:g} a rank is slow. Speed: median over steps of the tokens of a "
        "rank's own forward passes by their time. Past: its last fifth of steps against those before, from 100 steps "
        "on. Newest attempt."
    )
    return Table(subject.name, columns, rows, slow, note)


def _ratio(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def command_of(subject: Subject) -> str | None:
    """What a person types to run this again, in a folder of its own; None where the plan is lost."""
    if subject.plan is None or not subject.plan.command:
        return None
    words = list(subject.plan.command)
    if "--run" in words:  # that folder holds the finished run
        at = words.index("--run")
        del words[at : at + 2]
    return shlex.join(words)


def provenance_table(subject: Subject) -> Table | None:
    """Versions, code, machine, data; None where they are lost."""
    made = subject.provenance
    if made is None:
        return None
    dirty = ", with uncommitted changes" if made.commit and made.commit.dirty else ""
    commit = made.commit.commit + dirty if made.commit else ABSENT
    recipe = [("recipe's core, SHA-256", subject.plan.core_digest)] if subject.plan else []
    rows = [
        ("biodist", made.biodist),
        ("commit", commit),
        *recipe,
        *((f"data: {name}, SHA-256", digest) for name, digest in made.data.items()),
        ("Python", made.python),
        *made.libraries.items(),
        ("system", made.system),
        ("processor", f"{made.processor}, {made.cores} cores"),
    ]
    columns = (Column("what", number=False), Column("version or digest", number=False))
    return Table("", columns, tuple(rows))
