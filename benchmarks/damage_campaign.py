"""Damages the checkpoints of a real run in every way, and sees what the same command then does.

``python benchmarks/damage_campaign.py --out benchmarks/out/damage.jsonl``: each case starts from a copy of one run that
was stopped half-way. A campaign that was stopped goes on after its last row. Cases with a full disk need root, and are
left out aloud without it. Exit 5 when some case did not go as promised.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from campaign.bench import STRATEGY, WORLD_SIZE, Bench, stopped_run
from campaign.ground import Ground
from campaign.ledger import Ledger, Row, conduct, markdown

from biodist.errors import EXIT_DONE


def main() -> int:
    options = _options()
    ledger = Ledger(options.out)
    if options.markdown:
        print(table(ledger.rows()))
        return EXIT_DONE
    ground = Ground.prepare(options.ground or options.out.with_suffix(""))
    bench = Bench(ground, stopped_run(ground), ground.undisturbed(STRATEGY, WORLD_SIZE))
    if os.geteuid() != 0:
        print("full disks are left out: only root can mount a small one", flush=True)
    chosen = [(name, act) for name, act in bench.cases(os.geteuid() == 0) if options.only in name]
    return conduct(ledger, chosen, options.limit, "as promised")


def table(rows: list[Row]) -> str:
    """A line a case."""
    head = ("damage", "exit code", "went on from", "then", "as promised")
    return markdown(
        head,
        (
            (
                row["case"],
                row["exit_code"],
                "" if row["resumed_step"] is None else f"step {row['resumed_step']}",
                row["then"],
                "; ".join(row["problems"]) or "yes",
            )
            for row in rows
        ),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/damage.jsonl"), help="rows")
    parser.add_argument("--ground", type=Path, help="folder of corpus, cache and runs; --out without its ending")
    parser.add_argument("--limit", type=int, help="so many cases, then stop")
    parser.add_argument("--only", default="", help="cases whose name holds this: MANIFEST, disk, shard-00001")
    parser.add_argument("--markdown", action="store_true", help="print the table of --out, run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
