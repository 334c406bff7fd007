"""How well the two halves of a CLIP match pictures and captions of held-out scenes."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from ..blocks.captions import Facts, ObjectFacts, say
from ..blocks.scene import COLOURS, GROUNDS, KINDS, TIMES
from ..contracts import Encoder
from ..frozen.encoders import load_encoder
from .recipe import HELD_OUT_WORLD, SIDE, Setting
from .scenes import facts_of_row, open_scenes

_AMONG = 200  # pictures among which a caption finds its own


def measure_matching(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """How well pictures and captions find each other on held-out scenes.

    `zero_shot` names kind and colour, 40 classes, of scenes with one object; the recalls are the
    shares of captions (pictures) whose own picture (caption) is the nearest of 200.
    """
    encoder = load_encoder(str(folder), device=setting.device)
    single = open_scenes("pictures", HELD_OUT_WORLD, count, SIDE, setting.monitor, objects=1)
    scenes = open_scenes("pictures", HELD_OUT_WORLD, count, SIDE, setting.monitor)
    rows = scenes.rows(np.arange(count))
    captions = [say(facts_of_row(row)) for row in rows]
    _, different = np.unique(captions, return_index=True)
    kept = np.sort(different)
    pictures = _encode_pictures(encoder, rows["picture"][kept])
    texts = encoder.encode_texts([captions[number] for number in kept], "query")
    groups = [slice(first, first + _AMONG) for first in range(0, len(kept), _AMONG)]
    whole = [group for group in groups if group.stop <= len(kept)] or groups
    return {
        "zero_shot": _zero_shot(encoder, single.rows(np.arange(count))),
        "text_to_image_recall_at_1": _recall(texts, pictures, whole),
        "image_to_text_recall_at_1": _recall(pictures, texts, whole),
    }


def _recall(
    queries: Float32[np.ndarray, "n d"], answers: Float32[np.ndarray, "n d"], groups: list[slice]
) -> float:
    shares = []
    for group in groups:
        nearest = (queries[group] @ answers[group].T).argmax(axis=1)
        shares.append(np.mean(nearest == np.arange(len(nearest))))
    return float(np.mean(shares))


def _zero_shot(encoder: Encoder, rows: Any) -> float:
    classes = [(kind, colour) for kind in range(len(KINDS)) for colour in range(len(COLOURS))]
    heads = np.stack([_class_vector(encoder, *names) for names in classes])
    nearest = (_encode_pictures(encoder, rows["picture"]) @ heads.T).argmax(axis=1)
    wanted = rows["kind"][:, 0] * len(COLOURS) + rows["colour"][:, 0]
    return float(np.mean(nearest == wanted))


def _class_vector(encoder: Encoder, kind: int, colour: int) -> Float32[np.ndarray, " d"]:
    """The mean of prompts with every ground and time, and without."""
    thing = (ObjectFacts(KINDS[kind], COLOURS[colour]),)
    prompts = [say(Facts(thing, ground, time)) for ground in GROUNDS for time in TIMES]
    mean = encoder.encode_texts([say(Facts(thing)), *prompts]).mean(axis=0)
    unit: Float32[np.ndarray, " d"] = mean / np.linalg.norm(mean)
    return unit


def _encode_pictures(encoder: Encoder, pictures: Any) -> Float32[np.ndarray, "n d"]:
    return encoder.encode_images(as_images(pictures))


def as_images(pictures: Any) -> list[Any]:
    """Arrays as Pillow images."""
    from PIL import Image

    return [Image.fromarray(picture) for picture in pictures]
