"""Nearest neighbors among clustered unit vectors, one core: graftwerk beside other stores.

Each contender runs in a process of its own, held on one core, warm, one query at a time. Peers
that are not installed are named and left out; `pip install -e '.[bench]'` installs them.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

DIMENSION = 384
CLUSTERS = 1_000
SPREAD = 0.5  # length of what is added to a cluster's center
QUERIES = 200
K = 10
Search = Callable[[np.ndarray], list[int]]


def make_data(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Stored vectors and queries from the same clusters."""
    generator = np.random.default_rng(0)
    centres = unit(generator.standard_normal((CLUSTERS, DIMENSION), dtype=np.float32))
    rows = centres[generator.integers(CLUSTERS, size=count + QUERIES)]
    noise = generator.standard_normal(rows.shape, dtype=np.float32)
    vectors = unit(rows + noise * np.float32(SPREAD / np.sqrt(DIMENSION)))
    return vectors[:count], vectors[count:]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ours(vectors: np.ndarray, folder: Path, *, exact: bool = False) -> Search:
    """The snapshot of an index: memory-mapped vectors and their sign bits."""
    from graftwerk.search.vectors import Space, read_snapshot, write_snapshot

    write_snapshot(folder, "bench:1", np.arange(len(vectors)), vectors)
    snapshot = read_snapshot(folder)
    none = snapshot.ids[:0]
    space = Space(snapshot.ids, snapshot.vectors, snapshot.bits, none, none, vectors[:0])
    return lambda query: [key for key, _ in space.nearest(query, K, exact=exact)]


def ours_exact(vectors: np.ndarray, folder: Path) -> Search:
    return ours(vectors, folder, exact=True)


def faiss_flat(vectors: np.ndarray, _: Path) -> Search:
    import faiss

    index = faiss.IndexFlatIP(DIMENSION)
    index.add(vectors)
    return lambda query: index.search(query[None], K)[1][0].tolist()


def faiss_hnsw(vectors: np.ndarray, _: Path) -> Search:
    import faiss

    index = faiss.IndexHNSWFlat(DIMENSION, 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.hnsw.efSearch = 64
    index.add(vectors)
    return lambda query: index.search(query[None], K)[1][0].tolist()


def lance(vectors: np.ndarray, folder: Path, *, indexed: bool = False) -> Search:
    import lancedb
    import pyarrow

    column = pyarrow.FixedSizeListArray.from_arrays(vectors.reshape(-1), DIMENSION)
    table = lancedb.connect(str(folder)).create_table(
        "bench", pyarrow.table({"id": np.arange(len(vectors)), "vector": column})
    )
    if indexed:
        table.create_index(metric="cosine", vector_column_name="vector")

    def search(query: np.ndarray) -> list[int]:
        found = table.search(query).distance_type("cosine").limit(K).select(["id"]).to_arrow()
        return found["id"].to_pylist()

    return search


def lance_indexed(vectors: np.ndarray, folder: Path) -> Search:
    return lance(vectors, folder, indexed=True)


def chroma(vectors: np.ndarray, folder: Path) -> Search:
    import chromadb

    settings = chromadb.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(path=str(folder), settings=settings)
    collection = client.create_collection("bench", metadata={"hnsw:space": "cosine"})
    for start in range(0, len(vectors), 5_000):
        part = vectors[start : start + 5_000]
        names = [str(start + row) for row in range(len(part))]
        collection.add(ids=names, embeddings=part)

    def search(query: np.ndarray) -> list[int]:
        found = collection.query(query_embeddings=query[None], n_results=K, include=[])
        return [int(name) for name in found["ids"][0]]

    return search


def sqlite_vec(vectors: np.ndarray, folder: Path) -> Search:
    import apsw  # not every Python's own sqlite3 can load extensions
    import sqlite_vec as extension

    connection = apsw.Connection(str(folder / "bench.sqlite"))
    connection.enable_load_extension(True)
    connection.load_extension(extension.loadable_path())
    connection.execute(
        f"CREATE VIRTUAL TABLE v USING vec0(embedding float[{DIMENSION}] distance_metric=cosine)"
    )
    rows = ((key, row.tobytes()) for key, row in enumerate(vectors))
    with connection:
        connection.executemany("INSERT INTO v(rowid, embedding) VALUES (?, ?)", rows)
    statement = "SELECT rowid FROM v WHERE embedding MATCH ? AND k = ?"
    return lambda query: [
        key for (key,) in connection.execute(statement, (query.tobytes(), K)).fetchall()
    ]


def txtai(vectors: np.ndarray, _: Path) -> Search:
    from txtai import Embeddings

    embeddings = Embeddings({"method": "external", "content": False, "backend": "faiss"})
    embeddings.index((key, row, None) for key, row in enumerate(vectors))
    return lambda query: [int(key) for key, _ in embeddings.search(query, K)]


# name -> module that must be there, what builds and gives a search
CONTENDERS: dict[str, tuple[str, Callable[[np.ndarray, Path], Search]]] = {
    "graftwerk": ("graftwerk", ours),
    "graftwerk --exact": ("graftwerk", ours_exact),
    "FAISS flat": ("faiss", faiss_flat),
    "FAISS HNSW": ("faiss", faiss_hnsw),
    "LanceDB exact": ("lancedb", lance),
    "LanceDB IVF-PQ": ("lancedb", lance_indexed),
    "Chroma": ("chromadb", chroma),
    "sqlite-vec": ("sqlite_vec", sqlite_vec),
    "txtai": ("txtai", txtai),
}


def measure(name: str, folder: Path) -> dict[str, float]:
    """Build and ask; runs in the contender's own process."""
    vectors = np.load(folder / "vectors.npy")
    queries = np.load(folder / "queries.npy")
    truth = np.load(folder / "truth.npy")
    with tempfile.TemporaryDirectory() as location:
        begin = time.perf_counter()
        search = CONTENDERS[name][1](vectors, Path(location))
        build = time.perf_counter() - begin
        for query in queries[:20]:
            search(query)
        times, found = [], 0
        for query, right in zip(queries, truth, strict=True):
            begin = time.perf_counter()
            keys = search(query)
            times.append(time.perf_counter() - begin)
            found += len(set(keys) & set(right.tolist()))
    return {
        "build": build,
        "milliseconds": 1000 * statistics.median(times),
        "recall": found / truth.size,
    }


def run_alone(name: str, folder: Path) -> dict[str, float] | None:
    """Measure a contender in a fresh process on one core; None where it fails."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-m", "bench.vectors", "--only", name, "--folder", str(folder)],
        env={**os.environ, **one, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(f"{name:18} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compare(count: int, names: list[str]) -> None:
    print(f"{count:,} vectors of {DIMENSION}, {CLUSTERS:,} clusters, {QUERIES} queries, one core\n")
    print(f"{'':18} {'build s':>8} {'ms/query':>9} {'recall@10':>10}")
    with tempfile.TemporaryDirectory() as location:
        folder = Path(location)
        vectors, queries = make_data(count)
        truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
        for name, array in (("vectors", vectors), ("queries", queries), ("truth", truth)):
            np.save(folder / f"{name}.npy", array)
        del vectors
        for name in names:
            if importlib.util.find_spec(CONTENDERS[name][0]) is None:
                print(f"{name:18} not installed")
                continue
            result = run_alone(name, folder)
            if result is not None:
                print(
                    f"{name:18} {result['build']:8.1f} {result['milliseconds']:9.2f} "
                    f"{result['recall']:10.4f}",
                    flush=True,
                )
    print()


def measure_store(count: int = 10_000) -> None:
    """Passages a second into the database, encoder left out."""
    from graftwerk.search.index import create_or_open
    from graftwerk.search.rows import Entry
    from graftwerk.types import Passage

    class NoEncoder:
        name, fingerprint, dimension = "bench", "0" * 64, DIMENSION
        reads, rescorer = frozenset({"text"}), None

    vectors, _ = make_data(count)
    generator = np.random.default_rng(0)
    entries = []
    for number in range(0, count, 8):
        path = f"/{number}.txt"
        texts = [
            " ".join(f"w{word}" for word in generator.zipf(1.3, 150) % 50_000) for _ in range(8)
        ]
        passages = [Passage(path, "text", text, 0, len(text)) for text in texts]
        entries.append(Entry(path, str(number), passages, vectors[number : number + 8]))
    with tempfile.TemporaryDirectory() as location:
        with create_or_open(Path(location) / "index", NoEncoder(), "bench", None) as index:
            begin = time.perf_counter()
            for start in range(0, len(entries), 32):
                index.put_all(entries[start : start + 32])
            stored = time.perf_counter()
            index.refresh()
            sealed = time.perf_counter()
        size = sum(path.stat().st_size for path in (Path(location) / "index").iterdir())
    print(
        f"storing {count:,} passages of 150 words with their vectors, 256 a commit: "
        f"{count / (stored - begin):,.0f} passages/s; snapshot and seal {sealed - stored:.2f} s; "
        f"{size / count:,.0f} bytes a passage\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the vectors are made")
    parser.add_argument("--million", action="store_true", help="1,000,000 vectors as well")
    parser.add_argument("--only", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps(measure(options.only, options.folder)))
        return
    measure_store()
    compare(100_000, list(CONTENDERS))
    if options.million:
        compare(1_000_000, ["graftwerk", "graftwerk --exact", "FAISS flat"])


if __name__ == "__main__":
    main()
