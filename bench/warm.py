"""CPU milliseconds of one warm search of the example handbook: an open `Index` beside `run`.

The queries differ, so that no vector of one is used for another.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import graftwerk
from graftwerk.examples import HANDBOOK

SUBJECTS = ("parental leave", "foosball", "a hotel in Zurich", "the pension", "a new laptop")
RUNS = 20


def cpu_milliseconds(search: Callable[[str], object]) -> float:
    times = []
    for number in range(RUNS + 3):
        query = f"What is said about {SUBJECTS[number % len(SUBJECTS)]} in year {number}?"
        begin = time.process_time()
        search(query)
        times.append(time.process_time() - begin)
    return 1000 * statistics.median(times[3:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the documents ship with the package")
    parser.parse_args()
    with tempfile.TemporaryDirectory() as name, graftwerk.Index(Path(name) / "index") as index:
        index.add(HANDBOOK)

        def run(query: str) -> object:
            return graftwerk.run(graftwerk.Search(query=query, index=index.folder))

        print(f"one warm search, median of {RUNS}, CPU milliseconds")
        for label, search in {"Index.search": index.search, "run(Search(...))": run}.items():
            print(f"{label:18} {cpu_milliseconds(search):6.1f} ms")


if __name__ == "__main__":
    main()
