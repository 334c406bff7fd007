"""The frozen model that is fitted to data: its identity, its inputs and its features."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable
from weakref import WeakValueDictionary

import numpy as np

from ..data.dataset import ImageArray, Item, Kind, OpenedData, Row
from ..errors import BadFile, BadInput
from ..folders import hint_for
from ..models import encoders
from ..models.checkpoint import SERIES_MODELS, ModelFolder
from ..models.fast_text import MODEL_TYPE as STATIC_TYPE
from ..models.image_encoder import IMAGE_MODELS, encode_and_compare
from ..models.text_encoder import read_recipe
from ..types import Advance, Encoder, HiddenLayer, Vectors

_TEXTS = frozenset({"bert", "distilbert", "mpnet", "roberta", "xlm-roberta", STATIC_TYPE})
_DECODED = 64  # images at a time
NO_MODEL = "none"  # numbers of a table are used without a model


@dataclass(frozen=True)
class Base:
    """A frozen model.

    Attributes:
        name: name as given.
        root: its folder.
        fingerprint: hash of its files and of the selected layer.
        layer: hidden layer that features come from.
        reads: kinds of items that it accepts.
        device: device that it runs on.
    """

    name: str
    root: Path
    fingerprint: str
    layer: HiddenLayer
    reads: frozenset[Kind]
    device: str

    def encoder(self) -> "Encode":
        """Load the model, or return it if it is still loaded in this process."""
        if self.name == NO_MODEL:
            return FrozenEncoder(None)
        key = (self.name, self.fingerprint, self.device)
        encode = _LOADED.get(key)
        if encode is None:
            encode = _LOADED[key] = self._load()
        return encode

    def _load(self) -> "Encode":
        if "series" in self.reads:
            from .tune import NetworkEncoder, load_network

            return NetworkEncoder(load_network(self, "series"))
        return FrozenEncoder(encoders.load_encoder(self.name, layer=self.layer, device=self.device))


_ROWS = hashlib.sha256(b"numbers of a table, and whether each is missing, 1").hexdigest()


@runtime_checkable
class Encode(Protocol):
    """A model that encodes items as unit vectors."""

    def __call__(
        self, items: Sequence[Item], advance: Advance, unusual: Advance | None = None
    ) -> Vectors:
        """Encode items.

        Args:
            items: items of a single kind.
            advance: called with the number of items done.
            unusual: called after each batch with the number of images that are out of distribution
                for the frozen model, if its folder has statistics of its training images.
        """
        ...


# Objects share a loaded model; it is freed with the last of them.
_LOADED: "WeakValueDictionary[tuple[str, str, str], Encode]" = WeakValueDictionary()


def open_base(name: str, layer: HiddenLayer, device: str) -> Base:
    """Inspect a model without loading it."""
    if name == NO_MODEL:
        if layer is not None:
            raise BadInput("there is no model, so it has no layer.", "Leave --layer out.")
        return Base(name, Path(), _ROWS, None, frozenset({"row"}), device)
    if encoders.static_base(name) is not None:
        encoders.load_encoder(name, layer=layer, device=device)  # distils it if necessary
    root = encoders.model_folder(name)
    if not (root / "config.json").is_file() and not (root / "modules.json").is_file():
        kind = "a diffusion pipeline" if (root / "model_index.json").is_file() else "no model"
        raise BadFile(
            f"model {name!r} is not an encoder: {root} holds {kind}.",
            hint_for(root, "Name a text or image encoder, for example builtin/minilm."),
        )
    recipe = read_recipe(root)
    reads = _reads(name, recipe.transformer)
    if "series" in reads and layer is not None:
        raise BadInput(
            f"of {name!r}, which reads series, the last layer alone is taken.",
            "Leave --layer and --sweep out.",
        )
    return Base(
        name=name,
        root=root,
        fingerprint=encoders.encoder_fingerprint(root, recipe, layer),
        layer=layer,
        reads=reads,
        device=device,
    )


def _reads(name: str, folder: ModelFolder) -> frozenset[Kind]:
    kind = folder.model_type
    if kind in IMAGE_MODELS:
        joint = IMAGE_MODELS[kind].takes == "joint"
        return frozenset({"text", "image"} if joint else {"image"})
    if kind in SERIES_MODELS:
        return frozenset({"series"})
    if kind not in _TEXTS:
        encoders.require_texts(name, folder)
    return frozenset({"text"})


class FrozenEncoder:
    """An encoder of texts, images and table rows; see `Encode`."""

    def __init__(self, encoder: Encoder | None) -> None:
        self._encoder = encoder

    def __call__(
        self, items: Sequence[Item], advance: Advance, unusual: Advance | None = None
    ) -> Vectors:
        """Encode items."""
        encoder = self._encoder
        if items and isinstance(items[0], Row):
            return self._rows([item for item in items if isinstance(item, Row)], advance)
        assert encoder is not None  # noqa: S101  only rows are read without one
        if not items or not isinstance(items[0], ImageArray | OpenedData):
            return encoder.encode_texts([str(item) for item in items], advance=advance)
        vectors = np.empty((len(items), encoder.dimension), dtype=np.float32)
        for start in range(0, len(items), _DECODED):
            batch = items[start : start + _DECODED]
            images = [item.open() for item in batch if isinstance(item, ImageArray | OpenedData)]
            location = slice(start, start + len(images))
            vectors[location], distances = encode_and_compare(encoder, images, advance)
            if unusual is not None and distances is not None:
                unusual(int((distances > 1).sum()))
        return vectors

    def _rows(self, rows: Sequence[Row], advance: Advance) -> Vectors:
        """Concatenate the numbers, their missing-value indicators, and the vector of the text."""
        numbers = np.stack([row.numbers for row in rows])
        missing = np.isnan(numbers)
        parts = [np.where(missing, np.float32(0), numbers), missing.astype(np.float32)]
        if self._encoder is None:
            advance(len(rows))
        else:
            given = [n for n, row in enumerate(rows) if row.text]
            vectors = np.zeros((len(rows), self._encoder.dimension), dtype=np.float32)
            if given:
                texts = [rows[n].text for n in given]
                vectors[given] = self._encoder.encode_texts(texts, advance=advance)
            advance(len(rows) - len(given))
            parts.append(vectors)
        return np.concatenate(parts, axis=1)
