"""Search on sets of several domains, beside rank_bm25, bm25s, sentence-transformers and txtai.

    python -m bench retrieval --data FOLDER

The sets are those of `bench/fusion.py`, and Cranfield's 225 queries on 1,400 abstracts where
FOLDER has `cranfield` with `cran.all.1400`, `cran.qry` and `cranqrel` (all four degrees of
relevance count as right); what is looked for never holds the query itself. Every
contender gets the same documents, whole, with its own defaults: BM25 of rank_bm25 and bm25s over
words in lower case, the vectors of all-MiniLM-L6-v2 in sentence-transformers and txtai, and both
in txtai's hybrid index. Figures are nDCG@10 and the share of right documents that are first. Peers
that are not installed are named and left out; `pip install -e '.[bench]'` installs them.
"""

import argparse
import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from graftwerk.library.index import Index
from graftwerk.models.hub import builtin_folder

from .fit_reading import HERE, SETS
from .fusion import DEBIAN, MOST, RUST, debian, rust, titles, xquad

Texts = dict[str, str]
Find = Callable[[str], list[str]]  # names of documents, best first
K = 10


def graftwerk(texts: Texts, mode: str, *, rerank: bool = False) -> Find:
    folder = Path(tempfile.mkdtemp())
    for key, text in texts.items():
        (folder / f"{key}.txt").write_text(text, "utf-8")
    index = Index(folder / ".index")
    index.add(folder)

    def find(query: str) -> list[str]:
        hits = index.search(query, k=3 * K, mode=mode, rerank=rerank)
        return list(dict.fromkeys(Path(hit.path).stem for hit in hits))[:K]

    return find


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def rank_bm25(texts: Texts) -> Find:
    from rank_bm25 import BM25Okapi

    names, model = [*texts], BM25Okapi([words(text) for text in texts.values()])
    return lambda query: [names[n] for n in np.argsort(-model.get_scores(words(query)))[:K]]


def bm25s(texts: Texts) -> Find:
    import bm25s as library

    names, model = [*texts], library.BM25()
    model.index([words(text) for text in texts.values()], show_progress=False)
    count = min(K, len(names))

    def find(query: str) -> list[str]:
        found, _ = model.retrieve([words(query)], k=count, show_progress=False)
        return [names[n] for n in found[0]]

    return find


def sentence_transformers(texts: Texts) -> Find:
    from sentence_transformers import SentenceTransformer

    names, model = [*texts], SentenceTransformer(str(builtin_folder("builtin/minilm")))
    vectors = model.encode([*texts.values()], normalize_embeddings=True)

    def find(query: str) -> list[str]:
        return [names[n] for n in np.argsort(-(vectors @ model.encode(query)))[:K]]

    return find


def txtai(texts: Texts) -> Find:
    from txtai import Embeddings

    names = [*texts]
    model = Embeddings(path=str(builtin_folder("builtin/minilm")), hybrid=True)
    model.index(list(enumerate(texts.values())))
    return lambda query: [names[n] for n, _ in model.search(query, K)]


CONTENDERS: dict[str, Callable[[Texts], Find]] = {
    "graftwerk": lambda texts: graftwerk(texts, "hybrid"),
    "graftwerk, reranked": lambda texts: graftwerk(texts, "hybrid", rerank=True),
    "graftwerk, vectors": lambda texts: graftwerk(texts, "vector"),
    "graftwerk, words": lambda texts: graftwerk(texts, "text"),
    "rank_bm25": rank_bm25,
    "bm25s": bm25s,
    "sentence_transformers": sentence_transformers,
    "txtai": txtai,
}


def made(_: Path) -> tuple[Texts, list[tuple[str, str]]]:
    """Questions on the documents of the repo, each paragraph a document of its own."""
    texts, asked = {}, []
    for name, folder in SETS.items():
        for path in sorted(folder.iterdir()):
            parts = re.split(r"\n\s*\n", path.read_text("utf-8"))
            texts |= {f"{name}-{path.stem}-{n}": part for n, part in enumerate(parts) if part}
        for line in json.loads((HERE / f"{name}.json").read_text()):
            found = [
                key
                for key, text in texts.items()
                if line["answers"] and line["sentence"] in " ".join(text.split())
            ]
            if len(found) == 1:
                asked.append((line["question"], found[0]))
    return texts, asked


def cranfield(data: Path) -> tuple[Texts, list[tuple[str, set[str]]]]:
    """Queries on abstracts of aerodynamics, most with several right ones."""
    texts = {}
    for record in (data / "cranfield/cran.all.1400").read_text().split("\n.I "):
        number, _, rest = record.removeprefix(".I ").partition("\n")
        title, text = (rest.partition(mark)[2] for mark in (".T\n", ".W\n"))
        title = " ".join(title.partition("\n.A")[0].split())
        text = " ".join(text.split()).removeprefix(title).strip()
        if text:
            texts[number.strip()] = f"{title}\n\n{text}"
    right: dict[int, set[str]] = {}
    for line in (data / "cranfield/cranqrel").read_text().splitlines():
        query, document, degree = line.split()
        if int(degree) > 0 and document in texts:
            right.setdefault(int(query), set()).add(document)
    queries = (data / "cranfield/cran.qry").read_text().split(".I ")[1:]
    asked = [
        (" ".join(query.partition(".W\n")[2].split()), n) for n, query in enumerate(queries, 1)
    ]
    return texts, [(query, right[n]) for query, n in asked]  # judged by position, not by .I


def gain(found: list[str], right: set[str]) -> float:
    """nDCG@10."""
    value = 1 / np.log2(np.arange(2, K + 2))
    got = sum(value[n] for n, name in enumerate(found) if name in right)
    return float(got / value[: len(right)].sum())


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of xquad/ and ag_news/")
    parser.add_argument("--sets", nargs="*", help="names of sets; default: all")
    options = parser.parse_args()
    sources: dict[str, Callable[[Path], tuple[Texts, list]]]
    sources = {"xquad": xquad, "news titles": titles, "made documents": made}
    sources |= {"cranfield": cranfield} if (options.data / "cranfield").is_dir() else {}
    sources |= {"debian": debian} if DEBIAN.is_file() else {}
    sources |= {"rust errors": rust} if RUST.is_dir() else {}
    print(f"{'':24}{'nDCG@10':>10}{'first':>8}")
    for name in options.sets or sources:
        texts, asked = sources[name](options.data)
        asked = asked[:: max(1, len(asked) // MOST)][:MOST]
        print(f"\n{name}: {len(asked)} queries, {len(texts)} documents")
        for contender, make in CONTENDERS.items():
            if importlib.util.find_spec(contender.partition(",")[0]) is None:
                print(f"{contender:24}  not installed")
                continue
            find = make(texts)
            found = [(find(q), {r} if isinstance(r, str) else r) for q, r in asked]
            gains, firsts = zip(*((gain(f, r), bool({*f[:1]} & r)) for f, r in found), strict=True)
            print(f"{contender:24}{np.mean(gains):10.4f}{np.mean(firsts):8.4f}", flush=True)


if __name__ == "__main__":
    main()
