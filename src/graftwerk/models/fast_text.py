"""Text encoders that run without PyTorch: static ones, and ONNX graphs.

Importing PyTorch and the transformers library takes seconds, loading a graph a fraction of one,
and on a CPU the graph is also faster. It is exported once into the cache; after the export it is
checked against the PyTorch vectors.

A static encoder gives the average of one vector per token. It is about fifty times faster than a
full encoder and less accurate. It is distilled offline from a full one, which then rescores the
first hits. It is stored in the format of the model2vec library, whose folders can also be loaded
here.

The distillation computes the full encoder's vector of every single token and takes principal
components scaled by their singular values to the power -1/2, so that the few directions that all
tokens share count less. Tokens are weighted by a / (a + p) for a token of probability p, by Zipf's
law on the order of the vocabulary (Arora et al., 2017, "A simple but tough-to-beat baseline for
sentence embeddings").
"""

import contextlib
import hashlib
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Float64, Int64

from .. import files
from ..cache import cached_folder
from ..errors import BadFile, NoRoom
from ..results import Modality
from ..settings import settings
from ..text_safety import counted
from ..types import Advance, Role, Vectors
from .checkpoint import ModelFolder
from .text_encoder import (
    Forward,
    ReadsTexts,
    Recipe,
    TextEncoder,
    TokenIds,
    TokenReader,
    batches,
    check_finite,
)
from .transformers import causal_class

if TYPE_CHECKING:
    from .torch_text import SentenceNetwork


MODEL_TYPE = "model2vec"
_DIMENSION = 384
_WHITENING = 0.5  # components are divided by the singular values to this power
_A = 5e-4
_LEAST_VALUE = 1e-3  # relative to the mean; smaller directions are only rounding errors
_PARAMETERS = {"version": 1, "dimension": _DIMENSION, "whitening": _WHITENING, "a": _A}
_CHUNK = 2048  # texts between two calls of `advance`
_FIRST_IDEOGRAPH = "\u2e80"
_NO_TEXT = re.compile(r"(\[.*\]|<.*>)?$", re.DOTALL)  # [unused7], <extra_id_3>, a gap
_MARKERS = "#\u2581\u0120"  # with these, tokenizers mark the start or continuation of a word


@dataclass
class StaticEncoder(ReadsTexts):
    """A frozen static encoder; see `types.Encoder`.

    Attributes:
        tokens: its tokenizer.
        table: one vector per token id, with the token weights multiplied in.
    """

    name: str
    fingerprint: str
    dimension: int
    tokens: TokenReader
    table: Float32[np.ndarray, "v d"]
    rescorer: str | None
    reads: frozenset[Modality] = frozenset({"text"})

    def encode_texts(
        self,
        texts: Sequence[str],
        role: Role = "document",  # noqa: ARG002
        advance: Advance | None = None,
    ) -> Vectors:
        """Encode texts in order, without truncation."""
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK):
            rows = self.tokens.read_whole(texts[start : start + _CHUNK])
            for location, row in enumerate(rows, start):
                if row:
                    vectors[location] = self.table.take(row, axis=0).sum(axis=0)
            if advance is not None:
                advance(len(rows))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        # No known token: use the last axis, where tokens vary least, so that nothing is near.
        vectors[lengths[:, 0] == 0, -1] = 1.0
        return check_finite(self.name, vectors / np.where(lengths == 0, 1.0, lengths))


def distilled(name: str, base_fingerprint: str, make_base: Callable[[], TextEncoder]) -> Path:
    """Return the folder of an encoder's static version, distilling it on the first call.

    Args:
        name: name of the full encoder.
        base_fingerprint: its fingerprint.
        make_base: loads it; called only if something has to be distilled.

    Raises:
        NoRoom: the cache cannot be written.
    """
    folder = static_folder(base_fingerprint)
    cached_folder(folder, partial(_distil, name, make_base))
    return folder


def static_folder(base_fingerprint: str) -> Path:
    """Return the cache folder of the model distilled from a full encoder."""
    return settings().cache / "static" / static_fingerprint(base_fingerprint)[:32]


def static_fingerprint(base_fingerprint: str) -> str:
    """Return the fingerprint of the model distilled from a full encoder."""
    content = json.dumps({"base": base_fingerprint, **_PARAMETERS}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def read_static(folder: ModelFolder) -> tuple[TokenReader, Float32[np.ndarray, "v d"]]:
    """Read the tokenizer and vector table of a model2vec folder.

    Raises:
        BadFile: a part is missing or of a kind that is not known here.
    """
    from safetensors.numpy import load_file

    tensors = load_file(folder.path / "model.safetensors")
    definition = folder.path / "tokenizer.json"
    if set(tensors) != {"embeddings"} or tensors["embeddings"].ndim != 2:
        raise BadFile(
            f"{folder.path / 'model.safetensors'} holds {', '.join(sorted(tensors))}; a static "
            "encoder holds embeddings alone.",
            "Distil the model again without vocabulary quantization.",
        )
    if not definition.is_file():
        raise BadFile(f"model folder {folder.path} has no tokenizer.json.", "Copy it again.")
    tokens = TokenReader(definition.read_text("utf-8"), max_length=1)
    table = tensors["embeddings"].astype(np.float32, copy=False)
    if len(table) < tokens.vocabulary_size:
        raise BadFile(
            f"{folder.path} has {counted(len(table), 'vector')} for "
            f"{counted(tokens.vocabulary_size, 'token')}.",
            "Copy the whole folder again.",
        )
    return tokens, table


def _distil(name: str, make_base: Callable[[], TextEncoder], folder: Path) -> dict[str, Any]:
    from safetensors.numpy import save

    base = make_base()
    weights = token_weights(base.tokens)
    used = weights > 0
    table = np.zeros((len(used), min(base.dimension, _DIMENSION)))
    table[used] = whiten(token_vectors(base, np.flatnonzero(used))) * weights[used, None]
    files.write_bytes(
        folder / "model.safetensors", save({"embeddings": np.ascontiguousarray(table, np.float32)})
    )
    files.write_text(folder / "tokenizer.json", base.tokens.definition)
    config = {
        "model_type": MODEL_TYPE,
        "architectures": ["StaticModel"],
        "tokenizer_name": name,
        "hidden_dim": table.shape[1],
        "seq_length": 1_000_000,
        "normalize": True,
    }
    files.write_json(folder / "config.json", config)
    return {"base": name, **_PARAMETERS}


def token_vectors(base: TextEncoder, numbers: Int64[np.ndarray, " n"]) -> Vectors:
    """Return the full encoder's vector of each token alone, between the special tokens."""
    opening, closing = base.tokens.frame
    rows = [[*opening, number, *closing] for number in numbers.tolist()]
    vectors = np.empty((len(rows), base.dimension), dtype=np.float32)
    for batch in batches([len(row) for row in rows], base.batch_tokens):
        ids, mask = base.tokens.pad([rows[location] for location in batch])
        vectors[batch] = base.forward(ids, mask, mask)
    return check_finite(base.name, vectors)


def whiten(vectors: Vectors) -> Float64[np.ndarray, "n k"]:
    """Return the principal components, each divided by the root of its singular value."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred)
    retained = slice(None, -_DIMENSION - 1, -1)  # eigh sorts in ascending order
    values, axes = np.maximum(values, _LEAST_VALUE * values.mean())[retained], axes[:, retained]
    # A fixed sign, so that the result is the same on every machine.
    strongest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    axes = axes * np.sign(strongest)
    components: Float64[np.ndarray, "n k"] = centred @ axes
    # eigenvalues are squares of singular values
    scales = (values / values[0]) ** (-_WHITENING / 2)
    whitened: Float64[np.ndarray, "n k"] = components * scales
    return whitened


def token_weights(tokens: TokenReader) -> Float64[np.ndarray, " v"]:
    """Return the weight of each token: 0 if special, near 0 if frequent, otherwise near 1.

    Vocabularies are ordered by frequency, except for single characters, which come first: a letter
    or a mark is treated as the most frequent token, an ideograph as a rare one.
    """
    texts = tokens.vocabulary
    special = tokens.special | {
        location for location, text in enumerate(texts) if _NO_TEXT.match(text)
    }
    ranks = np.zeros(len(texts))
    position = 0
    for number, text in enumerate(texts):
        bare = text.strip(_MARKERS)
        if len(bare) > 1 and number not in special:
            position += 1
            ranks[number] = position
        else:
            ranks[number] = len(texts) if bare >= _FIRST_IDEOGRAPH else 1
    probabilities = 1 / (ranks + 2.7)  # Mandelbrot's form of Zipf's law
    probabilities /= (1 / (np.arange(1, len(texts) + 1) + 2.7)).sum()
    weights: Float64[np.ndarray, " v"] = _A / (_A + probabilities)
    weights[sorted(special)] = 0
    return weights


TOLERANCE = 1e-5  # maximum absolute difference from PyTorch's vectors
_VERSION = 2  # increase it when the export changes
_GRAPH = "model"  # in ONNX Runtime's own format, or in ONNX where it is too large for that
_TOKENIZER = "tokenizer.json"
_INPUTS = ("ids", "mask", "pooled")
_LARGEST_IN_ONE_FILE = 1_500_000_000  # bytes of weights; both formats are limited to 2 GiB
_LOG = logging.getLogger(__name__)
# Texts for which the graph must agree: short, long, empty, in other scripts.
_PROBES = (
    "",
    "word",
    "Are we allowed to play foosball during working hours?",
    "Größe, naïve, 東京, مرحبا, 🙂 and 3.14 % of it.",
    "A sentence that comes again and again until the longest input is reached. " * 400,
)


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph ready to run.

    Attributes:
        forward: maps token ids to vectors; thread-safe.
        tokens: its tokenizer.
        dimension: length of a vector.
    """

    forward: Forward
    tokens: TokenReader
    dimension: int


def load_graph(recipe: Recipe, fingerprint: str) -> Graph | None:
    """Load the graph of an encoder from the cache, exporting it first if necessary.

    Args:
        recipe: the encoder's recipe.
        fingerprint: the encoder's fingerprint, under which the graph is stored.

    Returns:
        The graph, or None if this encoder cannot be exported or the cache cannot be written.
    """
    from onnxruntime import __version__ as runtime  # reads its own format, not a later one's

    name = f"{fingerprint[:32]}-{_VERSION}-{runtime}".replace(".", "_")
    folder = settings().cache / "graphs" / name
    try:
        facts = cached_folder(folder, partial(_export, recipe))
    except NoRoom as error:
        _LOG.warning("no graph can be kept, so PyTorch is used: %s", error)
        return None
    if facts["reason"]:
        return None
    tokens = TokenReader(
        definition=(folder / _TOKENIZER).read_text("utf-8"),
        max_length=recipe.max_length,
        pad_id=facts["pad_id"],
        lower_case=recipe.lower_case,
    )
    return Graph(_open_session(folder / _GRAPH), tokens, facts["dimension"])


def _open_session(graph: Path, *, optimized: Path | None = None) -> Forward:
    """Open a graph in either format; `optimized`: write it there in the one that opens faster."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    path = graph.with_suffix(".ort")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
        options.add_session_config_entry("session.save_model_format", "ORT")
    if optimized is not None or not path.is_file():
        path = graph.with_suffix(".onnx")
    else:  # the weights stay in the file, mapped into memory
        options.add_session_config_entry("session.use_memory_mapped_ort_model", "1")
        options.add_session_config_entry("session.use_ort_model_bytes_for_initializers", "1")
    # One thread per call: two parallel calls are 5-8 % faster than one call on two threads.
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def forward(ids: TokenIds, mask: TokenIds, pooled: TokenIds) -> Vectors:
        vectors: Vectors = session.run(None, dict(zip(_INPUTS, (ids, mask, pooled), strict=True)))[
            0
        ]
        return vectors

    return forward


def _export(recipe: Recipe, folder: Path) -> dict[str, Any]:
    from .torch_text import SentenceNetwork, forward_on, read_tokens

    model = recipe.transformer
    if causal_class(model) is not None and not model.config.get("is_encoder_decoder"):
        return {"reason": "language models are large and read long inputs: minutes of exporting"}
    _LOG.info("exporting %s once", recipe.transformer.path)
    tokens, network = read_tokens(recipe), SentenceNetwork(recipe, layer=None)
    files.write_text(folder / _TOKENIZER, tokens.definition)
    ids, mask = tokens.pad(tokens.read(_PROBES))
    expected = forward_on(network, "cpu")(ids, mask, mask)
    reason = ""
    try:
        _write_graph(network, tokens, folder / _GRAPH)
        reason = _compare(_open_session(folder / _GRAPH), tokens, expected)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the exporter's errors have no common base class
        reason = f"{type(error).__name__} while exporting"
        _LOG.debug("export failed", exc_info=error)
    if reason:
        _LOG.warning("PyTorch is used for %s: %s", recipe.transformer.path, reason)
        for path in folder.glob(f"{_GRAPH}.*"):
            path.unlink()
    return {"reason": reason, "pad_id": tokens.pad_id, "dimension": expected.shape[1]}


def _write_graph(network: "SentenceNetwork", tokens: TokenReader, graph: Path) -> None:
    import torch

    network.use_plain_attention()
    ids, mask = tokens.pad(tokens.read(_PROBES[1:4]))
    example = tuple(torch.from_numpy(array) for array in (ids, mask, mask.copy()))
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    size = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    with _quiet_exporter():
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            dynamic_shapes=(free, free, free),
            input_names=list(_INPUTS),
            output_names=["vectors"],
            verbose=False,
        )
        if program is None:  # possible according to the signature
            raise RuntimeError("the exporter gave nothing")
        path = graph.with_suffix(".onnx")
        program.save(str(path), external_data=size > _LARGEST_IN_ONE_FILE)
    if size <= _LARGEST_IN_ONE_FILE:
        _open_session(graph, optimized=graph.with_suffix(".ort"))
        path.unlink()


def _compare(forward: Forward, tokens: TokenReader, expected: Vectors) -> str:
    """Return why the graph cannot be used, batched or text by text; empty if it agrees."""
    ids, mask = tokens.pad(tokens.read(_PROBES))
    together = forward(ids, mask, mask)
    worst = float(np.abs(together - expected).max())
    for location, probe in enumerate(_PROBES):
        ids, mask = tokens.pad(tokens.read([probe]))
        worst = max(worst, float(np.abs(forward(ids, mask, mask)[0] - expected[location]).max()))
    return "" if worst <= TOLERANCE else f"the graph differs from PyTorch by {worst:.1e}"


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter from writing to the terminal."""
    former = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(former)
