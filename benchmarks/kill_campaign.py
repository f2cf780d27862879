"""Kills runs at stated instants, resumes them with the same command, and compares what they became.

``python benchmarks/kill_campaign.py --out benchmarks/out/kills.jsonl``: at least --kills kills of runs under every
strategy at 2 and 3 processes, drawn from --seed. A campaign that was stopped goes on after its last row. Exit 5 when
some run did not finish, differs from the undisturbed one, or left something behind.

``--sabotage`` breaks a resume on purpose; the campaign is worth something only where it finds that out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from campaign.cases import Blow, Case, Kind, cases
from campaign.ground import Ground
from campaign.ledger import Ledger, Row, conduct, markdown
from campaign.sabotage import SABOTAGES, sabotaged
from campaign.struck import struck_run
from campaign.traps import MOMENTS, moment
from campaign.verdict import WEIGHTS

from biodist.errors import EXIT_DONE, EXIT_SOME


def main() -> int:
    options = _options()
    ledger = Ledger(options.out)
    if options.markdown:
        print(table(ledger.rows()))
        return EXIT_DONE
    ground = Ground.prepare(options.ground or options.out.with_suffix(""))
    if options.sabotage:
        return _sabotage(ground)
    chosen = [case for case in cases(options.seed, options.kills) if options.only in case.key]
    return conduct(ledger, [(case.key, partial(struck_run, ground, case)) for case in chosen], options.limit, "equal")


def table(rows: list[Row]) -> str:
    """By blow, by moment, by strategy and world size: kills, runs, and what became of them."""
    head = ("", "kills", "runs", "finished", "equal weights", "equal samples", "left behind", "other problems")

    def line(name: str, some: list[tuple[str, Row]]) -> tuple[object, ...]:
        runs = list({row["case"]: row for _, row in some}.values())
        counted = (sum(bool(row[what]) for row in runs) for what in ("finished", "equal_weights", "equal_samples"))
        others = sum(bool(row["problems"]) and row["equal_weights"] and row["equal_samples"] for row in runs)
        return (name, len(some), len(runs), *counted, sum(len(row["leftovers"]) for row in runs), others)

    kills = [(f"{kind} · {at}", row) for row in rows for kind, at in row["blows"]]
    sections = [
        ("signal", [(kind.value, [k for k in kills if k[0].startswith(kind.value)]) for kind in Kind]),
        ("moment", [(at.name, [k for k in kills if k[0].endswith(" · " + at.name)]) for at in MOMENTS]),
        ("strategy", list(_by_ground(kills))),
        ("all", [("all", kills)]),
    ]
    return "\n\n".join(
        markdown((title, *head[1:]), [line(name, some) for name, some in parts if some]) for title, parts in sections
    )


def _by_ground(kills: list[tuple[str, Row]]) -> Iterator[tuple[str, list[tuple[str, Row]]]]:
    grounds = sorted({(row["strategy"], row["world_size"]) for _, row in kills})
    for strategy, world_size in grounds:
        some = [k for k in kills if (k[1]["strategy"], k[1]["world_size"]) == (strategy, world_size)]
        yield f"{strategy} × {world_size}", some


def _sabotage(ground: Ground) -> int:
    """A run is killed, and what it resumes from or with is broken. Exit 5 when the comparison does not notice."""
    blow = Blow(Kind.KILL_ONE, moment("step"), 8, 1)
    missed = 0
    for number, how in enumerate(SABOTAGES):
        case = Case(900 + number, "zero2", 2, ((blow,),))
        wrong = sabotaged(ground, case, how)
        found = any(what.startswith(WEIGHTS) for what in wrong)
        missed += not found
        print(f"{how}: {'found out: ' + '; '.join(wrong) if found else 'NOT found out'}", flush=True)
    return EXIT_SOME if missed else EXIT_DONE


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/kills.jsonl"), help="rows")
    parser.add_argument("--ground", type=Path, help="folder of corpus, cache and runs; --out without its ending")
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="so many runs, then stop")
    parser.add_argument("--only", default="", help="runs whose name holds this: 'zero3 x2', SIGSTOP, rename")
    parser.add_argument("--markdown", action="store_true", help="print the table of --out, run nothing")
    parser.add_argument("--sabotage", action="store_true", help="break resumes on purpose: they must be found out")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
