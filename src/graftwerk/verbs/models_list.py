"""`graft models list`: the built-in models."""

from ..contracts import Monitor
from ..reports import ModelList
from ..requests import ModelsList

_MODELS = (
    (
        "builtin/minilm",
        "text encoder",
        "all-MiniLM-L6-v2, 384 numbers a vector, inputs to 256 tokens, English; the default",
    ),
    (
        "static",
        "static text encoder",
        "distilled from builtin/minilm on first use, some fifty times faster; builtin/minilm puts "
        "its first hits in order",
    ),
    (
        "extractive",
        "writer",
        "quotes the sentences of the passages that answer best; writes nothing of its own",
    ),
)


def run(request: ModelsList, monitor: Monitor) -> ModelList:  # noqa: ARG001
    """List what needs no download and no folder."""
    return ModelList(
        models=[{"name": name, "kind": kind, "about": about} for name, kind, about in _MODELS]
    )
