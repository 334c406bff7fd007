"""Texts per second of the encoders, beside sentence-transformers with the same weights.

All of it in one run on the same texts, repeats interleaved, medians printed. The share of the
machine's peak counts the arithmetic that real tokens need, padding not counted, over the fastest
product of two large matrices that NumPy, PyTorch or ONNX Runtime does here.
"""

import argparse
import csv
import json
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from graftwerk.models.encoders import load_encoder
from graftwerk.models.hub import locate
from graftwerk.settings import settings

TEXTS = 2_000
REPEATS = 3
LAYERS, WIDTH, INNER = 6, 384, 1536  # of the built-in encoder


def public_texts(data: Path) -> list[str]:
    """Paragraphs, news and single sentences, mixed."""
    paragraphs = [p["text"] for p in json.loads((data / "xquad/en-120.json").read_text("utf-8"))]
    with (data / "stsb/en-dev.csv").open(encoding="utf-8", newline="") as file:
        sentences = sorted({text for row in csv.reader(file) for text in row[:2]})
    with (data / "ag_news/rows-4000.csv").open(encoding="utf-8", newline="") as file:
        news = sorted({" ".join(row[1:]) for row in csv.reader(file)})
    generator = random.Random(0)
    texts = paragraphs + generator.sample(sentences, 900)
    texts += generator.sample(news, TEXTS - len(texts))
    generator.shuffle(texts)
    return texts


def own_texts() -> list[str]:
    """Stretches of 5 to 150 words of this project's own pages, all different."""
    root = Path(__file__).parents[1]
    pages = sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")])
    words = re.findall(r"\S+", " ".join(page.read_text("utf-8") for page in pages))
    generator = random.Random(0)
    texts: set[str] = set()
    while len(texts) < TEXTS:
        start, length = generator.randrange(len(words)), int(5 * 30 ** generator.random())
        texts.add(" ".join(words[start : start + length]))
    mixed = sorted(texts)
    generator.shuffle(mixed)
    return mixed


def seconds_of(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def peak_gflops() -> float:
    """The fastest product of two square matrices, in 10^9 operations a second."""
    import onnx
    import onnxruntime
    import torch
    from onnx import TensorProto, helper

    torch.set_num_threads(settings().threads)
    shapes = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "n"]) for name in "abc"
    }
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", [shapes["a"], shapes["b"]], [shapes["c"]])
    opsets = [helper.make_opsetid("", 20)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings().threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    best = 0.0
    for size in (512, 1024, 2048):
        a, b = (np.random.default_rng(i).random((size, size), dtype=np.float32) for i in (0, 1))
        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        works: list[Callable[[], object]] = [
            lambda a=a, b=b: a @ b,
            lambda ta=ta, tb=tb: ta @ tb,
            lambda a=a, b=b: session.run(None, {"a": a, "b": b}),
        ]
        for work in works:
            fastest = min(seconds_of(work) for _ in range(10))
            best = max(best, 2 * size**3 / fastest / 1e9)
    return best


def needed_gflop(lengths: list[int]) -> float:
    """Arithmetic for texts of these many tokens: weights, then attention."""
    per_token = 2 * LAYERS * (4 * WIDTH**2 + 2 * WIDTH * INNER)
    pairs = 4 * LAYERS * WIDTH
    return sum(per_token * length + pairs * length**2 for length in lengths) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of public data sets (optional)")
    options = parser.parse_args()
    there = options.data is not None and (options.data / "xquad").is_dir()
    texts = public_texts(options.data) if there else own_texts()

    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(locate("builtin/minilm")), device="cpu")
    ours, static = load_encoder("builtin/minilm"), load_encoder("static")
    lengths = [len(row) for row in ours.tokens.read(texts)]  # type: ignore[attr-defined]
    print(
        f"{len(texts):,} different texts of {min(lengths)} to {max(lengths)} tokens, "
        f"{sum(lengths):,} in all; {settings().threads} threads; median of {REPEATS}"
    )
    methods: dict[str, Callable[[], object]] = {
        "sentence-transformers": lambda: peer.encode(texts, show_progress_bar=False),
        "graftwerk": lambda: ours.encode_texts(texts),
        "graftwerk static": lambda: static.encode_texts(texts),
    }
    for work in methods.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    peaks = []
    for _ in range(REPEATS):
        peaks.append(peak_gflops())
        for name, work in methods.items():
            seconds[name].append(seconds_of(work))
    cosines = (peer.encode(texts, show_progress_bar=False) * ours.encode_texts(texts)).sum(axis=1)
    peak, needed = max(peaks), needed_gflop(lengths)
    first = statistics.median(seconds["sentence-transformers"])
    print(f"{'':24}{'texts/s':>10}{'ratio':>8}{'GFLOP/s':>10}{'of peak':>9}")
    for name, found in seconds.items():
        middle = statistics.median(found)
        row = f"{name:24}{len(texts) / middle:>10,.0f}{first / middle:>8.2f}"
        if "static" not in name:
            row += f"{needed / middle:>10,.0f}{needed / middle / peak:>9.0%}"
        print(row)
    print(f"smallest cosine to sentence-transformers: {cosines.min():.7f}")
    print(f"matrix-product peak: {peak:,.0f} GFLOP/s")


if __name__ == "__main__":
    main()
