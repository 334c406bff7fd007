"""Fit the coefficients of `models/language/reading.py`.

    python -m bench.fit_reading            print coefficients, and figures of sets left out
    python -m bench.fit_reading --reader   those with the trained reader
    python -m bench.fit_reading --own      what each set's own questions would teach an index
    python -m bench.fit_reading --shipped  the shipped coefficients on questions in other words

The sets are those of `bench/questions` and of the handbook that ships: a folder of documents, and
a list of questions with their answers and words of the sentence that holds them. The weights
maximize the likelihood of the right sentence among all that were found, the probability that of
right and wrong among the first three of every question, those without an answer included. With the
reader, the weights are the mean of those with and without its features: fitted alone they trust it
more than it deserves on documents unlike these sets (manuals, public handbooks).
Figures are of each set by the coefficients of the others.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from graftwerk.examples import HANDBOOK
from graftwerk.library.index import Index
from graftwerk.metrics.retrieval import token_f1
from graftwerk.models.encoders import CachingEncoder, load_encoder
from graftwerk.models.language import reading, spans
from graftwerk.models.language.markup import readable
from graftwerk.models.language.reader import Reader, load_reader
from graftwerk.models.language.spans import find_candidates, find_seen
from graftwerk.rag import learning
from graftwerk.rag.citations import says
from graftwerk.types import Source

HERE = Path(__file__).parent / "questions"
SETS = {
    "handbook": HANDBOOK,
    **{name: HERE / name for name in ("town", "encyclopedia", "manual")},
}
OTHER_WORDS = {f"{name}-own-words": folder for name, folder in SETS.items()}
RIDGE = 0.3
PRIORS = (1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass
class Asked:
    """A question: what is seen of each sentence found, and which are right."""

    group: str
    features: np.ndarray
    right: np.ndarray
    spans: np.ndarray | None
    f1: np.ndarray | None
    seen: float | None = None  # F1 of the reader's span


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", action="store_true", help="with the trained reader")
    parser.add_argument("--own", action="store_true", help="learn from a set's own questions")
    parser.add_argument("--shipped", action="store_true", help="fit nothing")
    parser.add_argument("--sets", type=Path, help="further ones, of bench.reader_sets")
    options = parser.parse_args()
    with_reader = options.reader or options.own
    if options.shipped:
        show_shipped(options.sets)
        return
    add_sets(options.sets)
    if options.own:
        show_own()
        return
    asked = [one for name in SETS for one in gather(name, with_reader=with_reader)]
    firsts = {"all": fit_weights(asked)}
    shown, total = [], []
    for name in SETS:
        others = [one for one in asked if one.group != name]
        own = [one for one in asked if one.group == name]
        weights = fit_weights(others)
        ranks = [rank(one, weights) for one in own if one.right.any()]
        cosine = [rank(one, np.eye(len(weights))[0]) for one in own if one.right.any()]
        shown.append((name, ranks, cosine))
        print(f"{name}: F1 of the span in the right sentence {span_f1(own, fit_spans(others)):.3f}")
        probability = fit_probability(others, weights)
        total += judged(own, weights, probability)
    both = [[rank for row in shown for rank in row[side]] for side in (1, 2)]
    shown.append(("all", *both))
    for name, ranks, cosine in shown:
        print(
            f"{name:14}{len(ranks):4} questions: right sentence first {share(ranks, 1):.3f}, in "
            f"first three {share(ranks, 3):.3f}; best cosine {share(cosine, 1):.3f}, "
            f"{share(cosine, 3):.3f}"
        )
    for low, high in ((0, 0.1), (0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.01)):
        inside = [(p, y) for p, y in total if low <= p < high]
        if inside:
            p, y = np.mean(inside, axis=0)
            print(f"probability {low} to {min(high, 1)}: {p:.2f}, right {y:.2f} of {len(inside)}")
    weights = firsts["all"]
    names = reading.READER_FEATURES if with_reader else reading.FEATURES
    prefix = "READER_" if with_reader else ""
    for name, value in zip(names, weights, strict=True):
        print(f"    {name:24}{value:.2f}")
    print(f"{prefix}WEIGHTS =", tuple(round(float(w), 2) for w in weights))
    print(
        f"{prefix}PROBABILITY =", tuple(round(float(v), 2) for v in fit_probability(asked, weights))
    )
    print(
        f"there: {getattr(reading, f'{prefix}WEIGHTS')}, {getattr(reading, f'{prefix}PROBABILITY')}"
    )
    if with_reader:
        read = [one.seen for one in asked if one.seen is not None]
        print(f"F1 of the reader's span in the right sentence {np.mean(read):.3f}")
    print("spans.WEIGHTS =", tuple(round(float(w), 2) for w in fit_spans(asked)))
    print(f"there: {spans.WEIGHTS}")


def show_shipped(folder: Path | None) -> None:
    """Right sentences first and in the first three, of all answerable questions, unthresholded."""
    SETS.clear()
    SETS.update(OTHER_WORDS)
    add_sets(folder)
    for name in SETS:
        asked = gather(name, with_reader=True)
        count = sum(bool(line["answers"]) for line in json.loads(questions_of(name).read_text()))
        width = len(reading.READER_WEIGHTS)
        rules = np.pad(reading.WEIGHTS, (0, width - len(reading.WEIGHTS)))
        for label, weights in (
            ("reader", np.array(reading.READER_WEIGHTS)),
            ("rules", rules),
            ("largest cosine", np.eye(width)[0]),
        ):
            ranks = [rank(one, weights) for one in asked if one.right.any()]
            first, three = (sum(r <= depth for r in ranks) / count for depth in (1, 3))
            print(f"{name:24}{count:4} {label:16}{first:.3f} {three:.3f}", flush=True)


def show_own() -> None:
    """Coefficients learned from a set's own questions, each fifth by the others, by prior."""
    shipped = np.array(reading.READER_WEIGHTS)
    known = {
        name: [one for one in gather(name, with_reader=True) if one.right.any()] for name in SETS
    }
    for name, own in known.items():
        taught = [learning.Asked(one.features, one.right) for one in own]
        before = learning.first_share(taught, [shipped] * len(own))
        after = [
            f"{learning.first_share(taught, learning.cross_fitted(taught, shipped, prior)):.3f}"
            for prior in PRIORS
        ]
        print(f"{name:14}{len(own):4} questions: right sentence first as shipped {before:.3f}; ")
        print(f"    learned, precision of the prior {PRIORS}: {', '.join(after)}")


def add_sets(folder: Path | None) -> None:
    """Add the sets of a folder that `bench.reader_sets` wrote."""
    for path in sorted(folder.glob("*.json")) if folder else ():
        SETS[path.stem] = path.with_suffix("")


def questions_of(name: str) -> Path:
    """Return the file with the questions of a set."""
    own = HERE / f"{name}.json"
    return own if own.exists() else SETS[name].with_suffix(".json")


def gather(name: str, *, with_reader: bool) -> list[Asked]:
    encoder = CachingEncoder(load_encoder("builtin/minilm"))
    reader = load_reader(encoder) if with_reader else None
    lines = json.loads(questions_of(name).read_text())
    found = []
    with tempfile.TemporaryDirectory() as folder, Index(folder + "/index") as index:
        index.add(SETS[name])
        for line in lines:
            hits = index.search(line["question"], k=5)
            sources = [Source(number, hit) for number, hit in enumerate(readable(hits), 1)]
            found.append(describe(name, line, sources, (encoder, reader)))
    return found


def describe(
    name: str, line: dict, sources: Sequence[Source], models: tuple[CachingEncoder, Reader | None]
) -> Asked:
    encoder, reader = models
    question, words = line["question"], line.get("sentence") or None
    seen = reading.examine(question, sources, encoder, reader)
    if seen is None:
        raise SystemExit(f"nothing is found for {question!r}")
    chosen, features, passages = seen.sentences, seen.features, seen.passages
    right = np.array([words is not None and says(one.text, words) for one in chosen])
    asked = Asked(name, features, right, None, None)
    if not right.any():
        return asked
    sentence = chosen[int(np.argmax(right))]
    text = sentence.text
    candidates = find_candidates(question, text)
    asked.spans = candidates.features
    asked.f1 = np.array([token_f1(text[a:b], line["answers"]) for a, b in candidates.spans])
    if passages:
        whole, passage = sources[sentence.rank].passage.text, passages[sentence.rank]
        span = find_seen(question, whole, passage, (sentence.start, sentence.end))
        if span is not None:
            asked.seen = token_f1(whole[slice(*span)], line["answers"])
    return asked


def fit_spans(asked: list[Asked]) -> np.ndarray:
    known = [
        (one.spans, np.log(one.f1**3 + 1e-6))
        for one in asked
        if one.spans is not None and one.f1 is not None and one.f1.max() > 0
    ]
    return _most_likely(known, len(spans.FEATURES), 0.5)


def _most_likely(known: Sequence[tuple[np.ndarray, np.ndarray]], width: int, ridge: float):
    """Weights of a softmax over the rows of each group, whose targets have these logarithms."""

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        missed, slope = ridge / 2 * weights @ weights, ridge * weights
        for features, target in known:
            scores = features[:, :width] @ weights
            all_, right = logsumexp(scores), logsumexp(scores + target)
            missed += all_ - right
            pull = np.exp(scores - all_) - np.exp(scores + target - right)
            slope = slope + features[:, :width].T @ pull
        return float(missed), slope

    return np.asarray(minimize(loss, np.zeros(width), jac=True).x)


def span_f1(asked: list[Asked], weights: np.ndarray) -> float:
    known = [one for one in asked if one.f1 is not None]
    return float(np.mean([one.f1[int(np.argmax(one.spans @ weights))] for one in known]))


def fit_weights(asked: list[Asked]) -> np.ndarray:
    """The weights by the rules' features, or the mean of those and the weights by all features."""
    rules, width = len(reading.FEATURES), asked[0].features.shape[1]
    alone = np.pad(_fit_weights(asked, rules), (0, width - rules))
    return alone if width == rules else (alone + _fit_weights(asked, width)) / 2


def _fit_weights(asked: list[Asked], count: int) -> np.ndarray:
    known = [
        (one.features, np.where(one.right, 0.0, -np.inf))
        for one in asked
        if one.right.any() and not one.right.all()
    ]
    return _most_likely(known, count, RIDGE)


def _first_three(one: Asked, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = one.features @ weights
    order = np.argsort(-scores, kind="stable")
    leads = reading.lead(scores)
    return np.stack([scores, leads, np.ones(len(scores))], 1)[order[:3]], one.right[order[:3]]


def fit_probability(asked: list[Asked], weights: np.ndarray) -> np.ndarray:
    pairs = [_first_three(one, weights) for one in asked]
    inputs = np.concatenate([x for x, _ in pairs])
    right = np.concatenate([y for _, y in pairs])

    def loss(coefficients: np.ndarray) -> float:
        signed = np.where(right, 1, -1) * (inputs @ coefficients)
        return float(np.logaddexp(0, -signed).sum())

    return np.asarray(minimize(loss, np.array([0.5, 0.5, -4.0])).x)


def judged(
    asked: list[Asked], weights: np.ndarray, coefficients: np.ndarray
) -> Iterator[tuple[float, bool]]:
    for one in asked:
        inputs, right = _first_three(one, weights)
        yield from zip((1 / (1 + np.exp(-(inputs @ coefficients)))).tolist(), right, strict=True)


def rank(one: Asked, weights: np.ndarray) -> int:
    order = np.argsort(-(one.features @ weights), kind="stable")
    return int(np.flatnonzero(one.right[order])[0]) + 1


def share(ranks: list[int], depth: int) -> float:
    return float(np.mean([rank <= depth for rank in ranks]))


if __name__ == "__main__":
    main()
