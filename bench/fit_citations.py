"""How often a claim that `steer/citations.py` calls a paraphrase says the same as its source.

    python -m bench.fit_citations PAIRS.csv

PAIRS.csv: text, text, score 0 to 5 (5 the same, 4 mostly, 3 roughly, below that not); ours was
the STS benchmark, English, development set. One line for each cosine that the threshold could be.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from graftwerk.models.encoders import load_encoder
from graftwerk.models.hub import named_by_user
from graftwerk.rag import citations


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fit_citations", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--encoder", default="builtin/minilm")
    options = parser.parse_args()
    with options.file.open(encoding="utf-8", newline="") as file:
        pairs = [(row[0], row[1], float(row[2])) for row in csv.reader(file)]
    with named_by_user([options.encoder]):
        encoder = load_encoder(options.encoder)
    claims = encoder.encode_texts([claim for claim, _, _ in pairs])
    sources = encoder.encode_texts([source for _, source, _ in pairs])
    cosines = (claims * sources).sum(axis=1)
    scores = np.array([score for _, _, score in pairs])
    agree = np.array([citations.judge(a, b, 1.0) == "paraphrase" for a, b, _ in pairs])
    print("cosine  accepted  of these 3 or more  of these 4 or more  of all 4 or more, accepted")
    for threshold in (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9):
        taken = agree & (cosines >= threshold)
        chosen = " <- PARAPHRASE_COSINE" if threshold == citations.PARAPHRASE_COSINE else ""
        print(
            f"{threshold:6.2f}{taken.sum():10d}{(scores[taken] >= 3).mean():20.3f}"
            f"{(scores[taken] >= 4).mean():20.3f}{taken[scores >= 4].mean():27.3f}{chosen}"
        )


if __name__ == "__main__":
    main()
