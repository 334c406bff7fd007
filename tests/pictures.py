"""A joint encoder that knows colors and nothing else, and images of one color."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graftwerk.errors import BadFile
from graftwerk.models.image_encoder import Examined, ImageEncoder
from graftwerk.models.ood import Familiar
from graftwerk.models.text_encoder import TextEncoder, TokenReader

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}
_WORDS = ["[PAD]", "[UNK]", *COLOURS]


def _tokenizer() -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate(_WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str()


def _direction(colours: Any) -> np.ndarray:
    """Red, green, blue above the mean of three, and a part that all share."""
    values = np.asarray(colours, dtype=np.float32) / 255
    shared = np.full((len(values), 1), 0.5)
    whole = np.concatenate([values - values.mean(axis=1, keepdims=True), shared], axis=1)
    return (whole / np.linalg.norm(whole, axis=1, keepdims=True)).astype(np.float32)


def colour_encoder(
    folder: Path,
    *,
    name: str = "test/colours",
    joint: bool = True,
    familiar: Familiar | None = None,
) -> ImageEncoder:
    """Its vectors: where the color points to; a text points to the sum of its color words.

    The state of an image is its mean color.
    """
    table = np.array([(128, 128, 128), (128, 128, 128), *COLOURS.values()], dtype=np.float32)

    def prepare(images: Any) -> dict[str, torch.Tensor]:
        means = [
            np.asarray(image.convert("RGB"), dtype=np.float32).mean(axis=(0, 1)) for image in images
        ]
        return {"pixel_values": torch.from_numpy(np.array(means).reshape(-1, 3))}

    def forward(ids: np.ndarray, mask: np.ndarray, pooled: np.ndarray) -> np.ndarray:
        known = (ids > 1)[:, :, None]
        total = np.where(known, table[ids], 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return _direction(total)

    def look(inputs: Any) -> Examined:
        colours = inputs["pixel_values"].numpy()
        return Examined(_direction(colours), (colours / 255).astype(np.float32))

    texts = TextEncoder(
        name=name,
        fingerprint="colours",
        dimension=4,
        tokens=TokenReader(_tokenizer(), max_length=8),
        forward=forward,
        backend="pytorch",
        batch_tokens=64,
        reads=frozenset({"text"}),
    )
    return ImageEncoder(
        name=name,
        fingerprint="colours",
        dimension=4,
        reads=frozenset({"text", "image"} if joint else {"image"}),
        prepare=prepare,
        look=look,
        width=3,
        texts=texts if joint else None,
        folder=folder,
        logit_scale=10.0 if joint else None,
        familiar=familiar,
    )


def paint(path: Path, colour: tuple[int, int, int] | str, size: int = 8) -> Path:
    """Write an image of one color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), COLOURS.get(colour, colour)).save(path)
    return path


def serve_encoder(monkeypatch: pytest.MonkeyPatch, *encoders: Any) -> None:
    """Let the commands find these encoders by their names."""
    known = {encoder.name: encoder for encoder in encoders}

    def load(name: str, *, layer: int | None = None, device: str = "auto") -> Any:
        if name not in known:
            raise BadFile(f"model {name!r} is neither a built-in name nor a folder that exists.")
        return known[name]

    for module in ("commands.classify", "commands.evaluate", "library.index"):
        monkeypatch.setattr(f"graftwerk.{module}.load_encoder", load)
