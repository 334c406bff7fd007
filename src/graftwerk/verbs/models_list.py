"""`graft models list`: the built-in models."""

from ..contracts import Monitor
from ..frozen.builtin import BUILTIN
from ..reports import ModelList
from ..requests import ModelsList

_OTHERS = (
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
    carried = ((name, entry.kind, entry.about) for name, entry in BUILTIN.items())
    return ModelList(
        models=[
            {"name": name, "kind": kind, "about": about}
            for name, kind, about in (*carried, *_OTHERS)
        ]
    )
