"""Whether the trained reader puts the first 20 hits in a better order than search does.

    python -m bench.rerank [--data FOLDER] [--sets FOLDER] [--queries N]

What `graft search --rerank` does: each hit gets its score plus a weight times what the reader
says of its passage. Compared are the logit that it answers the question, which is what ships, and
the score of the likeliest span. The weight used on a set is the best on the others. The sets of
questions are those of `bench/fusion.py` with --data, made documents, and those of
`bench.reader_sets` with --sets; the figure is nDCG@10 of the right document.
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graftwerk.library.index import Index
from graftwerk.models.encoders import load_encoder
from graftwerk.models.language.reader import load_reader
from graftwerk.search.query import MAX_LOGIT, RERANKED
from graftwerk.search.results import Hit

from .fit_reading import HERE, SETS, add_sets, questions_of
from .fusion import debian, xquad

FIRST, LAST = 0, 10**9
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)


@dataclass(frozen=True)
class Ranked:
    """The hits of a query: which are right, their scores, and two scores of the reader."""

    right: np.ndarray
    found: np.ndarray
    relevance: np.ndarray
    span: np.ndarray

    def gain(self, scores: np.ndarray) -> float:
        """nDCG@10 of the best right hit."""
        if not self.right.any():
            return 0.0
        better = int((scores > scores[self.right].max()).sum())
        return float(1 / np.log2(better + 2)) if better < 10 else 0.0

    def mixed(self, kind: str, weight: float) -> np.ndarray:
        logits = getattr(self, kind)
        scores: np.ndarray = self.found + weight * np.clip(logits, -MAX_LOGIT, MAX_LOGIT)
        return scores


def rank(
    index: Index, asked: list[tuple[str, str]], is_right: Callable[[Hit, str], bool], most: int
) -> Iterator[Ranked]:
    reader = load_reader(load_encoder("builtin/minilm"))
    if reader is None:
        raise SystemExit("builtin/minilm has no reader.")
    asked = random.Random(0).sample(asked, min(most, len(asked)))
    for question, right in asked:
        hits = index.search(question, k=RERANKED)
        read = reader.read(question, [(hit.heading, hit.text) for hit in hits])
        spans = [one.span(FIRST, LAST) for one in read]
        yield Ranked(
            np.array([is_right(hit, right) for hit in hits]),
            np.array([hit.score for hit in hits]),
            np.array([one.relevance for one in read]),
            np.array([-20.0 if one is None else one[0] for one in spans]),
        )


def gather(data: Path | None, most: int) -> dict[str, list[Ranked]]:
    found: dict[str, list[Ranked]] = {}
    for name, make in (("XQuAD among news", xquad), ("Debian packages", debian)) if data else ():
        texts, asked = make(data)
        folder = Path(tempfile.mkdtemp())
        for key, text in texts.items():
            (folder / f"{key}.txt").write_text(text, "utf-8")
        index = Index(folder / ".index")
        index.add(folder)
        named = rank(index, asked, lambda hit, right: Path(hit.path).stem == right, most)
        found[name] = list(named)
        print(f"{name}: {len(found[name])} queries", flush=True)
    made = found["made documents"] = []
    for name, documents in SETS.items():
        lines = json.loads(questions_of(name).read_text())
        index = Index(Path(tempfile.mkdtemp()) / ".index")
        index.add(documents)
        asked = [(line["question"], line["sentence"]) for line in lines if line["answers"]]
        into = made if questions_of(name).parent == HERE else found.setdefault(name, [])
        into += rank(index, asked, lambda hit, right: right in " ".join(hit.text.split()), most)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", type=Path, help="further ones, of bench.reader_sets")
    parser.add_argument("--queries", type=int, default=150, help="most of a set")
    options = parser.parse_args()
    add_sets(options.sets)
    sets = gather(options.data, options.queries)

    def mean(name: str, kind: str, weight: float) -> float:
        return float(np.mean([one.gain(one.mixed(kind, weight)) for one in sets[name]]))

    print(f"{'':20}{'search':>10}{'relevance':>18}{'span':>18}   (weight from the other sets)")
    for name in sets:
        line = f"{name:20}{mean(name, 'relevance', 0.0):10.3f}"
        for kind in ("relevance", "span"):
            others = {w: sum(mean(o, kind, w) for o in sets if o != name) for w in WEIGHTS}
            weight = max(others, key=lambda one: others[one])
            line += f"{mean(name, kind, weight):12.3f} ({weight:g})"
        print(line)


if __name__ == "__main__":
    main()
