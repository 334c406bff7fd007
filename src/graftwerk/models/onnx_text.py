"""Text encoders as ONNX graphs, exported once into the cache and run without PyTorch.

Importing PyTorch and the transformers library takes seconds, loading a graph a fraction of one,
and on a CPU the graph is also faster. After the export it is checked against the PyTorch vectors.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..cache import cached_folder
from ..errors import NoRoom
from ..settings import settings
from ..types import Vectors
from .text_encoder import Forward, Recipe, TokenIds, TokenReader
from .transformers import causal_class

if TYPE_CHECKING:
    from .torch_text import SentenceNetwork


TOLERANCE = 1e-5  # maximum absolute difference from PyTorch's vectors
_VERSION = 1  # increase it when the export changes
_GRAPH = "model.onnx"
_TOKENIZER = "tokenizer.json"
_INPUTS = ("ids", "mask", "pooled")
_LARGEST_IN_ONE_FILE = 1_500_000_000  # bytes of weights; protobuf is limited to 2 GiB
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
    folder = settings().cache / "graphs" / f"{fingerprint[:32]}-{_VERSION}"
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


def _open_session(path: Path) -> Forward:
    import onnxruntime

    options = onnxruntime.SessionOptions()
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
        for path in folder.glob(f"{_GRAPH}*"):
            path.unlink()
    return {"reason": reason, "pad_id": tokens.pad_id, "dimension": expected.shape[1]}


def _write_graph(network: "SentenceNetwork", tokens: TokenReader, path: Path) -> None:
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
        program.save(str(path), external_data=size > _LARGEST_IN_ONE_FILE)


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
