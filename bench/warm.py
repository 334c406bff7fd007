"""CPU milliseconds of one warm search of the example handbook: an open `Index` beside `run`.

The queries differ, so that no vector of one is used for another. With `--documents` also the
first queries of a static index of that folder, which embed what they find with the full encoder
and keep it, the same queries by another process later, and those of a full index.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import graftwerk
from graftwerk.examples import HANDBOOK
from graftwerk.search.index import CACHE

SUBJECTS = ("parental leave", "foosball", "a hotel in Zurich", "the pension", "a new laptop")
RUNS = 20
QUERIES = 10


def cpu_seconds(search: Callable[[str], object], query: str) -> float:
    begin = time.process_time()
    search(query)
    return time.process_time() - begin


def cpu_milliseconds(search: Callable[[str], object]) -> float:
    queries = [
        f"What is said about {SUBJECTS[number % len(SUBJECTS)]} in year {number}?"
        for number in range(RUNS + 3)
    ]
    return 1000 * statistics.median([cpu_seconds(search, query) for query in queries][3:])


def headings(index: graftwerk.Index) -> list[str]:
    """Queries on as many subjects: headings of passages that lie far apart."""
    found = index.search("how to do it and what it means", k=1000, mode="text").hits
    named = list(dict.fromkeys(hit.heading.split(" > ")[-1] for hit in found if hit.heading))
    return named[:: max(1, len(named) // (QUERIES + 1))][: QUERIES + 1]


def first_queries(index: graftwerk.Index, queries: Sequence[str]) -> str:
    """CPU seconds of the 1st, 2nd and 10th query; models are loaded before."""
    index.search(queries[QUERIES], k=1)
    times = [cpu_seconds(index.search, query) for query in queries[:QUERIES]]
    shown = "".join(f"{times[number - 1]:9.3f}" for number in (1, 2, QUERIES))
    return f"{shown}{statistics.mean(times):9.3f}"


def compare_static(documents: str, folder: Path) -> None:
    print(f"\nCPU seconds of a query     1st      2nd     10th     mean   building, {documents}")
    begin = time.process_time()
    with graftwerk.Index(folder / "static", encoder="static") as index:
        made = index.add(documents)
        built = time.process_time() - begin
        queries = headings(index)
    for label in ("static, first time", "static, once more"):
        with graftwerk.Index(folder / "static") as index:
            print(f"{label:20}{first_queries(index, queries)}{built:9.1f}")
    size = (folder / "static" / CACHE).stat().st_size
    print(
        f"  {made.passages} passages, of which {index_rescored(folder)} kept in {size / 1e6:.1f} MB"
    )
    begin = time.process_time()
    with graftwerk.Index(folder / "static") as index:
        change = index.rebuild(upgrade=True)
        built = time.process_time() - begin
        print(f"{'full, upgraded':20}{first_queries(index, queries)}{built:9.1f}")
    print(f"  {change.embedded} embedded, {change.reused} reused")


def index_rescored(folder: Path) -> int:
    with graftwerk.Index(folder / "static") as index:
        return index.status().rescored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the documents ship with the package")
    parser.add_argument("--documents", help="a folder of some thousand passages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, graftwerk.Index(Path(name) / "index") as index:
        index.add(HANDBOOK)

        def run(query: str) -> object:
            return graftwerk.run(graftwerk.Search(query=query, index=index.folder))

        print(f"one warm search, median of {RUNS}, CPU milliseconds")
        for label, search in {"Index.search": index.search, "run(Search(...))": run}.items():
            print(f"{label:18} {cpu_milliseconds(search):6.1f} ms")
        if options.documents:
            compare_static(options.documents, Path(name))


if __name__ == "__main__":
    main()
