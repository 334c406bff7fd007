"""Ways to fuse the rankings by meaning and by words, each with its constants from the other sets.

    python -m bench.fusion --data FOLDER [--keep FOLDER]

Sets of different domains: questions on XQuAD's paragraphs, and titles of news with their texts
(both from FOLDER); questions on the made documents of `bench/questions` and the handbook; where
they are installed, one-line descriptions of Debian packages with their long ones, and what the
errors of the Rust compiler mean with the pages that explain them. What is looked for never holds
the query itself. The figure is nDCG@10 of the right document.
"""

import argparse
import csv
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from itertools import product
from pathlib import Path

import numpy as np

from graftwerk.library.index import Index
from graftwerk.models.encoders import load_encoder
from graftwerk.search.index import open_index
from graftwerk.search.query import DEPTH, TEXT_WEIGHT
from graftwerk.search.words import to_match

from .fit_reading import HERE, SETS

Pairs = tuple[dict[str, str], list[tuple[str, str]]]  # texts by name; queries with their names
MOST = 400  # queries of a set
DEBIAN = Path("/var/lib/dpkg/status")
RUST = Path.home() / ".rustup/toolchains"


def xquad(data: Path) -> Pairs:
    rows = json.loads((data / "xquad/en-120.json").read_text())
    texts = {f"x{n}": row["text"] for n, row in enumerate(rows)}
    asked = [(q["question"], f"x{n}") for n, row in enumerate(rows) for q in row["questions"]]
    return texts | {f"n{n}": text for n, (_, text) in enumerate(news(data, 1000))}, asked


def news(data: Path, count: int) -> list[tuple[str, str]]:
    with (data / "ag_news/rows-4000.csv").open(encoding="utf-8", newline="") as file:
        return [(title, text) for _, title, text in list(csv.reader(file))[:count]]


def titles(data: Path) -> Pairs:
    found = news(data, 1000)
    return {f"n{n}": text for n, (_, text) in enumerate(found)}, [
        (title, f"n{n}") for n, (title, _) in enumerate(found)
    ]


def debian(_: Path) -> Pairs:
    texts, asked = {}, []
    for entry in DEBIAN.read_text().split("\n\n"):
        found = re.search(r"^Description: (.+)\n((?: .+(?:\n|$))+)", entry, re.M)
        name = re.match(r"Package: (\S+)", entry)
        if found is None or name is None:
            continue
        short, long = found.groups()
        text = re.sub(r"^ \.?", "", long, flags=re.M)
        if len(text) > 150 and short.lower() not in text.lower():
            texts[name[1]] = text
            asked.append((short, name[1]))
    return texts, asked


def rust(_: Path) -> Pairs:
    texts, asked = {}, []
    for page in sorted(RUST.glob("stable*/share/doc/rust/html/error_codes/E*.html")):
        main = re.search(r"<main>(.*?)</main>", page.read_text(), re.S)
        plain = unescape(re.sub(r"<h1.*?</h1>|<[^>]+>", "", main[1] if main else "", flags=re.S))
        parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n|(?<=\.)\n", plain)]
        parts = [part for part in parts if part and not part.startswith("Note")]
        if len(parts) > 2 and 30 < len(parts[0]) < 200 and "example" not in parts[0]:
            asked.append((parts[0], page.stem))
            texts[page.stem] = "\n\n".join(parts[1:])[:3000]
    return texts, asked


@dataclass(frozen=True)
class Seen:
    """What both rankings say of one query: documents that either found, with their scores."""

    right: np.ndarray
    cosine: np.ndarray
    bm25: np.ndarray  # 0 where the words were not found
    vector_rank: np.ndarray  # infinite where a document is not among the first
    text_rank: np.ndarray

    def gain(self, scores: np.ndarray) -> float:
        """nDCG@10 of the right document by these scores."""
        if not self.right.any():
            return 0.0
        better = int((scores > scores[self.right].max()).sum())
        return float(1 / np.log2(better + 2)) if better < 10 else 0.0


def seen(index: Index, asked: list[tuple[str, set[str]]]) -> Iterator[Seen]:
    """Look for each query; a document counts by its best passage."""
    encoder = load_encoder("builtin/minilm")
    vectors = encoder.encode_texts([query for query, _ in asked], role="query")
    with open_index(index.folder) as opened, opened.view() as view:
        space = opened.space(view)
        for (query, right), vector in zip(asked, vectors, strict=True):
            by_vector = dict(space.nearest(vector, DEPTH))
            expression = to_match(query, spelled=view.spelled)
            by_text = dict(view.match(expression, DEPTH, None)) if expression else {}
            keys = np.array(sorted({*by_vector, *by_text}))
            ids, found = space.take(keys)
            cosines = dict(zip(ids.tolist(), (found @ vector).tolist(), strict=True))
            ranks = [{k: n for n, k in enumerate(r, 1)} for r in (by_vector, by_text)]
            passages = view.passages(keys.tolist())
            yield Seen(
                np.array([_is_right(passages[k].path, passages[k].text, right) for k in keys]),
                np.array([cosines[k] for k in keys]),
                np.array([by_text.get(k, 0.0) for k in keys]),
                *(np.array([rank.get(k, np.inf) for k in keys]) for rank in ranks),
            )


def _is_right(path: str, text: str, right: set[str]) -> bool:
    words = " ".join(text.split())
    return Path(path).stem in right or any(" " in one and one in words for one in right)


def ranks(one: Seen, offset: float, weight: float) -> np.ndarray:
    return 1 / (offset + one.vector_rank) + weight / (offset + one.text_rank)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def extremes(one: Seen, weight: float) -> np.ndarray:
    cosine = _scaled(one.cosine, one.cosine.min(), one.cosine.max())
    return cosine + weight * _scaled(one.bm25, 0.0, one.bm25.max())


def deviations(one: Seen, weight: float) -> np.ndarray:
    def standard(values: np.ndarray) -> np.ndarray:
        return (values - values.mean()) / (values.std() or 1.0)

    return standard(one.cosine) + weight * standard(one.bm25)


def absolute(one: Seen, weight: float, half: float) -> np.ndarray:
    """The cosine as it is, and BM25 with diminishing returns."""
    return one.cosine + weight * one.bm25 / (one.bm25 + half)


WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0)
FAMILIES: dict[str, tuple[Callable[..., np.ndarray], list[tuple[float, ...]]]] = {
    "vectors": (lambda one: one.cosine, [()]),
    "words": (lambda one: one.bm25, [()]),
    "default": (deviations, [(TEXT_WEIGHT,)]),
    "ranks, 0.1 of graftwerk": (ranks, [(5.0, 0.9)]),
    "ranks, of the paper": (ranks, [(60.0, 1.0)]),
    "ranks": (ranks, [*product((1.0, 2.0, 5.0, 10.0, 20.0, 60.0), WEIGHTS)]),
    "min-max": (extremes, [(w,) for w in WEIGHTS]),
    "z-norm": (deviations, [(w,) for w in WEIGHTS]),
    "cosine + BM25": (absolute, [*product(WEIGHTS, (5.0, 10.0, 20.0, 40.0))]),
}


def gather(data: Path, keep: Path) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    sources: dict[str, Callable[[Path], Pairs]] = {"xquad": xquad, "news titles": titles}
    sources |= {"debian": debian} if DEBIAN.is_file() else {}
    sources |= {"rust errors": rust} if RUST.is_dir() else {}
    for name, source in sources.items():
        texts, asked = source(data)
        folder = keep / name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for key, text in texts.items():
                (folder / f"{key}.txt").write_text(text, "utf-8")
        chosen = asked[:: max(1, len(asked) // MOST)][:MOST]
        index = Index(keep / f"{name}.graft")
        index.add(folder)
        found[name] = list(seen(index, [(query, {key}) for query, key in chosen]))
    made = found["made documents"] = []
    for name, documents in SETS.items():
        index = Index(keep / f"{name}.graft")
        index.add(documents)
        lines = json.loads((HERE / f"{name}.json").read_text())
        made += seen(index, [(q["question"], {q["sentence"]}) for q in lines if q["answers"]])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of xquad/ and ag_news/")
    parser.add_argument("--keep", type=Path, help="folder for the indexes, to be used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = gather(options.data, options.keep or Path(name))
    print(
        f"{'nDCG@10':24}" + "".join(f"{f'{n} ({len(s)})':>22}" for n, s in found.items()), " mean"
    )
    for family, (score, settings) in FAMILIES.items():
        table = np.array(
            [
                [np.mean([one.gain(score(one, *given)) for one in queries]) for given in settings]
                for queries in found.values()
            ]
        )
        shown, left_out = [], []
        for number in range(len(table)):
            others = np.delete(table, number, axis=0).mean(axis=0)
            best = int(np.argmax(others))
            left_out.append(table[number, best])
            chosen = ", ".join(f"{v:g}" for v in settings[best]) if len(settings) > 1 else ""
            shown.append(f"{f'({chosen}) ' if chosen else ''}{table[number, best]:.4f}")
        print(f"{family:24}" + "".join(f"{one:>22}" for one in shown), f"{np.mean(left_out):.4f}")
        if len(settings) > 1:
            best = int(np.argmax(table.mean(axis=0)))
            print(f"{'':24}on all sets: {settings[best]} {table[:, best].mean():.4f}")


if __name__ == "__main__":
    main()
