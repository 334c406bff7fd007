"""States of captions of stored scenes, read once and kept beside them."""

import numpy as np
import torch
from torch import Tensor

from ..contracts import Monitor
from ..frozen.diffusion.texts import TextReader
from .captioning import captions_of_rows
from .chunks import Chunks, open_chunks
from .scenes import Scenes

_BATCH = 64
_SEED = 0  # of what captions leave unsaid


def open_states(
    reader: TextReader, identity: str, scenes: Scenes, unsaid: float, monitor: Monitor
) -> Chunks:
    """Read the captions of scenes where that was not done yet: states of tokens, [t d] each.

    Args:
        reader: the text encoder.
        identity: of what decides its states.
        scenes: what is told, one caption each.
        unsaid: share of captions that leave parts out.
        monitor: told about it.

    Raises:
        NoRoom, Cancelled, Damaged: see `chunks.open_chunks`.
    """

    def make(span: range) -> Tensor:
        rows = scenes.rows(np.array(span))
        captions = captions_of_rows(rows, span.start, _SEED, unsaid)
        parts = [captions[n : n + _BATCH] for n in range(0, len(captions), _BATCH)]
        return torch.cat([reader.read(part).states for part in parts])

    place = f"captions/{scenes.name}-{identity[:16]}-{unsaid:g}"
    return open_chunks(place, len(scenes), 3, "reading captions", make, monitor)
