"""The trained reader: where in a passage the answer to a question is, and whether it is there.

`builtin/reader` is LoRA for the network of `builtin/minilm`, its segment embeddings, and three
heads, trained by `bench/train_reader.py`. The network reads question and passage together, runs in
NumPy with the LoRA merged into its weights, and needs neither PyTorch nor an exported graph.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int64
from threadpoolctl import threadpool_limits

from ...errors import BadFile
from ...types import Encoder
from ..checkpoint import check_safetensors, read_object
from ..encoders import model_folder
from ..hub import builtin_folder
from ..text_encoder import parse_tokenizer

if TYPE_CHECKING:
    import tokenizers

NAME, BASE = "builtin/reader", "builtin/minilm"
MODEL_TYPE = "graftwerk-reader"
LONGEST_SPAN = 30  # tokens
_CLS, _SEP = 101, 102
_LAYERS, _HEADS = 6, 12
_QUESTION, _HEADING, _CACHED = 64, 32, 256  # most tokens; most passages

Weights = Mapping[str, Float32[np.ndarray, "..."]]
States = Float32[np.ndarray, "t _"]


@dataclass(frozen=True)
class PassageReading:
    """Logits of a passage.

    Attributes:
        relevance: that the passage answers the question.
        null: score of the empty span.
        starts: of each token, that the answer starts there.
        ends: that it ends there.
        offsets: first character of each token in the passage, and one past its last.
    """

    relevance: float
    null: float
    starts: Float32[np.ndarray, " t"]
    ends: Float32[np.ndarray, " t"]
    offsets: Int64[np.ndarray, "t 2"]

    @cached_property
    def _scores(self) -> tuple[Float32[np.ndarray, "t t"], float]:
        """Of spans of up to `LONGEST_SPAN` tokens, above the empty one's; their log-sum-exp."""
        scores = self.starts[:, None] + self.ends[None] - self.null
        rows, columns = np.indices(scores.shape)
        allowed = (columns >= rows) & (columns < rows + LONGEST_SPAN)
        scores = np.where(allowed, scores, -np.inf).astype(np.float32)
        return scores, float(np.logaddexp(0, np.logaddexp.reduce(scores, axis=None)))

    def span(self, first: int, last: int) -> tuple[float, tuple[int, int]] | None:
        """Return the likeliest span between two characters, with its score; None without tokens."""
        inside = self._inside(first, last)
        if not len(inside):
            return None
        scores = self._scores[0][np.ix_(inside, inside)]
        start, end = divmod(int(scores.argmax()), len(inside))
        (first, _), (_, last) = self.offsets[inside[[start, end]]].tolist()
        return float(scores[start, end]), (first, last)

    def share(self, first: int, last: int) -> float:
        """Return the logarithm of the probability that the span is between two characters."""
        inside = self._inside(first, last)
        scores, total = self._scores
        return float(np.logaddexp.reduce(scores[np.ix_(inside, inside)], axis=None)) - total

    def _inside(self, first: int, last: int) -> Int64[np.ndarray, " n"]:
        return np.flatnonzero((self.offsets[:, 0] >= first) & (self.offsets[:, 1] <= last))


class Reader:
    """Reads passages with the network of the encoder `base`; thread-safe, loads at first use.

    Attributes:
        coefficients: of `reading.READER_FEATURES`, learned for an index; empty for the shipped.
    """

    def __init__(self, folder: Path, base: Path) -> None:
        self._folder, self._base = folder, base
        self.coefficients: tuple[float, ...] = ()
        self._lock = threading.Lock()
        self._cached: dict[tuple[str, str, str], PassageReading] = {}

    def read(self, question: str, passages: Sequence[tuple[str, str]]) -> list[PassageReading]:
        """Return what is read in each passage, a pair of heading and text; see `load_weights`."""
        found = []
        with self._lock:
            if len(self._cached) + len(passages) > _CACHED:
                self._cached = {}
            for heading, text in passages:
                key = (question, heading, text)
                if key not in self._cached:
                    self._cached[key] = self._read(*key)
                found.append(self._cached[key])
        return found

    def with_coefficients(self, coefficients: Sequence[float]) -> "Reader":
        """Return a reader that shares what this one has loaded and read."""
        other = copy(self)
        other.coefficients = tuple(coefficients)
        return other

    def _read(self, question: str, heading: str, text: str) -> PassageReading:
        tokenizer, weights, most = self._loaded
        pair = encode_pair(tokenizer, question, heading, text, most)
        with threadpool_limits(1, "blas"):  # on a busy machine, its threads wait for each other
            spans, relevance = forward(weights, pair.ids, pair.second)
        inside = slice(pair.passage, len(pair.ids) - 1)
        offsets = np.array(pair.offsets, np.int64).reshape(-1, 2)[: len(spans[inside])]
        null = float(spans[0].sum())
        return PassageReading(relevance, null, spans[inside, 0], spans[inside, 1], offsets)

    @cached_property
    def _loaded(self) -> "tuple[tokenizers.Tokenizer, Weights, int]":
        config = read_object(self._folder / "config.json")
        most = config.get("max_length")
        if config.get("model_type") != MODEL_TYPE or not isinstance(most, int):
            raise BadFile(f"{self._folder} is not a reader.", "Install graftwerk again.")
        tokenizer = parse_tokenizer((self._base / "tokenizer.json").read_text("utf-8"))
        return tokenizer, load_weights(self._folder, self._base), most


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A question and a passage as the network reads them.

    Attributes:
        ids: tokens of both and of the heading, cut off at the end.
        second: number of the first token of the second segment, which begins with the heading.
        passage: number of the first token of the passage.
        offsets: first character of each token in the whole passage, and one past its last.
    """

    ids: list[int]
    second: int
    passage: int
    offsets: list[tuple[int, int]]


def encode_pair(
    tokenizer: "tokenizers.Tokenizer", question: str, heading: str, text: str, most: int
) -> EncodedPair:
    """Return the input of the network, of at most so many tokens; training uses it as well."""
    asked, above, passage = (
        tokenizer.encode(part.encode("utf-8", "replace").decode(), add_special_tokens=False)
        for part in (question, heading, text)
    )
    first = [_CLS, *asked.ids[:_QUESTION], _SEP]
    before = [*first, *above.ids[:_HEADING]]
    ids = [*[*before, *passage.ids][: most - 1], _SEP]
    return EncodedPair(ids, len(first), len(before), passage.offsets)


def load_reader(encoder: Encoder) -> Reader | None:
    """Return the reader of passages that an encoder found; None for other than `builtin/minilm`."""
    return _reader(builtin_folder(NAME), model_folder(BASE)) if encoder.name == BASE else None


_reader = cache(Reader)  # whoever asks shares its weights and what it has read


def load_weights(folder: Path, base: Path) -> Weights:
    """Return the weights of the network with the reader's LoRA merged, and of its heads.

    Raises:
        Damaged: a file is not the one that came with the package.
        BadFile: the weights do not fit the encoder.
    """
    from safetensors.numpy import load_file

    paths = [one / "model.safetensors" for one in (base, folder)]
    for path in paths:
        check_safetensors(path)
    network, added = map(load_file, paths)
    weights = {name: value for name, value in network.items() if value.dtype == np.float32}
    try:
        for layer in [name.removesuffix(".up") for name in added if name.endswith(".up")]:
            up, down = (  # in 8 bits with a step for each row
                added[f"{layer}.{part}"] * added[f"{layer}.{part}_step"][:, None]
                for part in ("up", "down")
            )
            weights[f"encoder.layer.{layer}.weight"] += up @ down
        weights["embeddings.token_type_embeddings.weight"] = added["types"].astype(np.float32)
        for name in ("spans", "relevance"):
            for part in ("weight", "bias"):
                weights[f"{name}.{part}"] = added[f"{name}.{part}"].astype(np.float32)
    except (KeyError, ValueError) as error:
        raise BadFile(
            f"{paths[1]} does not fit {BASE}: {error}.", "Install graftwerk again."
        ) from error
    return weights


def forward(
    weights: Weights, ids: Sequence[int], second: int
) -> tuple[Float32[np.ndarray, "t 2"], float]:
    """Return logits of start and end, and of relevance; `second`: first token of the passage."""
    length = len(ids)
    types = (np.arange(length) >= second).astype(np.int64)
    states = (
        weights["embeddings.word_embeddings.weight"][np.asarray(ids)]
        + weights["embeddings.position_embeddings.weight"][:length]
        + weights["embeddings.token_type_embeddings.weight"][types]
    )
    states = _normalize(weights, "embeddings.LayerNorm", states)
    for number in range(_LAYERS):
        states = _layer(weights, f"encoder.layer.{number}", states)
    spans = _linear(weights, "spans", states)
    return spans, float(_linear(weights, "relevance", states[:1])[0, 0])


def _layer(weights: Weights, name: str, states: States) -> States:
    length, width = states.shape
    query, key, value = (
        _linear(weights, f"{name}.attention.self.{part}", states)
        .reshape(length, _HEADS, width // _HEADS)
        .transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    scores = query @ key.transpose(0, 2, 1)
    scores *= np.float32(1 / math.sqrt(width // _HEADS))
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed = (scores @ value).transpose(1, 0, 2).reshape(length, width)
    states = states + _linear(weights, f"{name}.attention.output.dense", mixed)
    states = _normalize(weights, f"{name}.attention.output.LayerNorm", states)
    inner = _gelu(_linear(weights, f"{name}.intermediate.dense", states))
    states = states + _linear(weights, f"{name}.output.dense", inner)
    return _normalize(weights, f"{name}.output.LayerNorm", states)


def _linear(weights: Weights, name: str, x: States) -> States:
    found: States = x @ weights[f"{name}.weight"].T
    found += weights[f"{name}.bias"]
    return found


def _normalize(weights: Weights, name: str, x: States) -> States:
    x = x - x.mean(axis=-1, keepdims=True)
    x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(1e-12))
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _gelu(x: States) -> States:
    """GELU with erf by Abramowitz and Stegun 7.1.26, whose error is below 1.5e-7."""
    size = np.abs(x)
    size *= np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * size)
    terms = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    total = np.full_like(t, terms[0])
    for term in terms[1:]:
        total *= t
        total += np.float32(term)
    total *= t
    total *= np.exp(-np.square(size))
    total = np.copysign(1 - total, x)  # erf
    total += 1
    total *= x
    found: States = total * np.float32(0.5)
    return found
