"""A CLIP model (Radford et al. 2021): images and captions in one vector space.

The image encoder of a finished model can be trained further alone, as in LiT (Zhai et al. 2022).
Its text embeddings do not change, so everything that uses them stays valid.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from .. import files
from ..blocks.captions import Facts, ObjectFacts, say
from ..blocks.networks import as_input
from ..blocks.scene import COLOURS, GROUNDS, KINDS, TIMES
from ..models.checkpoint import open_folder
from ..models.encoders import load_encoder
from ..models.image_encoder import ImageEncoder
from ..models.ood import FALSE_ALARM_RATE, least_images, make_familiar, save_familiar
from ..models.transformers import load_network, quiet
from ..models.zero_shot import LOCATION, save_templates
from ..training.session import Plan
from ..training.state import Loss, generator_for, in_order, initialise
from ..types import Encoder
from .cached import LENGTH, make_tokenizer, open_captions, until_end
from .registry import Setting
from .result import put
from .scenes import ABSENT, Scenes, as_tensors, facts_of_row, other_rows, training_scenes

_AMONG = 200  # images among which a caption finds its own


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Measure how well images and captions retrieve each other on held-out scenes.

    `zero_shot` is the accuracy of classifying kind and color, 40 classes, in scenes with one
    object; the recalls are the shares of captions (images) whose own image (caption) is the
    nearest of 200.
    """
    encoder = load_encoder(str(folder), device=setting.device)
    single = other_rows("pictures", count, setting, objects=1)
    rows = other_rows("pictures", count, setting)
    captions = [say(facts_of_row(row)) for row in rows]
    _, different = np.unique(captions, return_index=True)
    retained = np.sort(different)
    images = _encode_images(encoder, rows["picture"][retained])
    texts = encoder.encode_texts([captions[number] for number in retained], "query")
    groups = [slice(first, first + _AMONG) for first in range(0, len(retained), _AMONG)]
    whole = [group for group in groups if group.stop <= len(retained)] or groups
    return {
        "zero_shot": _zero_shot(encoder, single),
        "text_to_image_recall_at_1": _recall(texts, images, whole),
        "image_to_text_recall_at_1": _recall(images, texts, whole),
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
    nearest = (_encode_images(encoder, rows["picture"]) @ heads.T).argmax(axis=1)
    requested = rows["kind"][:, 0] * len(COLOURS) + rows["colour"][:, 0]
    return float(np.mean(nearest == requested))


def _class_vector(encoder: Encoder, kind: int, colour: int) -> Float32[np.ndarray, " d"]:
    thing = (ObjectFacts(KINDS[kind], COLOURS[colour]),)
    prompts = [say(Facts(thing, ground, time)) for ground in GROUNDS for time in TIMES]
    mean = encoder.encode_texts([say(Facts(thing)), *prompts]).mean(axis=0)
    unit: Float32[np.ndarray, " d"] = mean / np.linalg.norm(mean)
    return unit


def _encode_images(encoder: Encoder, images: Any) -> Float32[np.ndarray, "n d"]:
    return encoder.encode_images(as_images(images))


def as_images(images: Any) -> list[Any]:
    """Convert arrays to Pillow images."""
    from PIL import Image

    return [Image.fromarray(image) for image in images]


_PARTIAL = 0.3  # share of captions that leave parts out, so that short prompts are known too
_SURE = 100.0  # highest scale of the cosines, as in the paper
_IMAGE_HALF = ("vision_model.", "visual_projection.")
_FAMILIAR_WORLD = 6  # seed of scenes that nothing else is made from
_FAMILIAR_PER_LEAST = 9  # a limit at 1 % from more images than it needs is firmer


@dataclass(frozen=True, slots=True)
class Tower:
    """Size of the text or the image encoder."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Hyperparameters; `patch` is the side of an image patch."""

    plan: Plan
    scenes: int
    text: Tower
    image: Tower
    patch: int
    dimension: int


REAL = Sizes(
    plan=Plan(steps=2_300, batch=128, learning_rate=1e-3, warm_up=500, weight_decay=0.05),
    scenes=100_000,
    text=Tower(128, 512, 3, 4),
    image=Tower(128, 512, 6, 4),
    patch=8,
    dimension=128,
)
LARGE = {"patch": 16}
TINY = Sizes(
    plan=Plan(steps=4, batch=4, learning_rate=1e-3, warm_up=2),
    scenes=12,
    text=Tower(16, 32, 1, 2),
    image=Tower(16, 32, 1, 2),
    patch=16,
    dimension=16,
)


class Order:
    """Which scenes form a batch, as a function of seed and step.

    In random batches, ground, time and colors distinguish nearly all captions, and the shapes of
    objects are learned last. So batches alternate: random ones, ones with the same ground and
    time, and among these ones with a single object.

    Args:
        place: index of each scene's combination of ground and time.
        alone: whether it has one object.
        batch: items per step.
        seed: of the training.
    """

    def __init__(
        self,
        location: Int64[np.ndarray, " n"],
        alone: Bool[np.ndarray, " n"],
        batch: int,
        seed: int,
    ) -> None:
        self._scenes, self._batch, self._seed = len(location), batch, seed
        several = [np.flatnonzero(location == number) for number in np.unique(location)]
        single = [np.flatnonzero((location == number) & alone) for number in np.unique(location)]
        self._alike = [[g for g in groups if len(g) >= batch] for groups in (several, single)]

    def items(self, first: int, count: int) -> Int64[np.ndarray, " n"]:
        """Return the scenes of items `first` to `first + count`, which belong to one batch."""
        step, location = divmod(first, self._batch)
        groups = self._alike[step % 3 - 1] if step % 3 else []
        if not groups:
            return in_order(self._scenes, first, count, self._seed)
        sampled = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(3, step)))
        group = groups[sampled.integers(len(groups))]
        return sampled.choice(group, self._batch, replace=False)[location : location + count]


class Work:
    """The symmetric contrastive loss; see `training.session.Task`.

    Each image is compared with the captions of its own micro-batch, so gradient accumulation
    reduces the number of negatives. Identical captions count as correct for each other.
    """

    def __init__(self, sizes: Sizes, scenes: Scenes, setting: Setting) -> None:
        self._scenes, self._setting = scenes, setting
        location = scenes.column("ground").astype(np.int64) * len(TIMES) + scenes.column("time")
        alone = (scenes.column("kind") != ABSENT).sum(axis=1) == 1
        self._order = Order(location, alone, sizes.plan.batch, setting.seed)
        self._tokenizer = make_tokenizer()
        self._captions = open_captions(scenes, _PARTIAL, setting.monitor)
        finished = setting.dependencies.get("clip")
        if finished is None:
            self._network = _network(sizes, self._tokenizer, setting.side)
            initialise(self._network, generator_for(setting.seed, 0, "cpu"))
        else:
            self._network = load_network(open_folder(finished), "CLIPModel")
        for name, parameter in self._network.named_parameters():
            parameter.requires_grad_(finished is None or name.startswith(_IMAGE_HALF))
        self._network.to(setting.device)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All weights, or those of the image encoder."""
        return {n: p for n, p in self._network.named_parameters() if p.requires_grad}

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Images and the tokens of their captions."""
        numbers = self._order.items(first, count)
        images = as_tensors(self._scenes.rows(numbers))["picture"]
        return {"tokens": self._captions.of(numbers, first), "picture": images}

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Loss:  # noqa: ARG002
        """Cross-entropy from images to captions, and from captions to images."""
        pairs = {name: value.to(self._setting.device) for name, value in batch.items()}
        images = self._network.get_image_features(as_input(pairs["picture"])).pooler_output
        mask = until_end(pairs["tokens"], self._tokenizer.eos_token_id)
        longest = int(mask.sum(dim=1).max())
        texts = self._network.get_text_features(
            pairs["tokens"][:, :longest], mask[:, :longest]
        ).pooler_output
        images, texts = (functional.normalize(v.float(), dim=1) for v in (images, texts))
        scale = self._network.logit_scale.exp().clamp(max=_SURE)
        logits = scale * images @ texts.T
        equal = (pairs["tokens"][:, None] == pairs["tokens"]).all(dim=2)
        requested = equal / equal.sum(dim=1, keepdim=True)
        loss = functional.cross_entropy(logits, requested) + functional.cross_entropy(
            logits.T, requested
        )
        loss = loss / 2
        nearest = logits.detach().argmax(dim=1, keepdim=True)
        found = equal.gather(1, nearest).float().mean()
        return loss, {"found": found, "scale": scale.detach()}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write a `CLIPModel`, its tokenizer and its image processor."""
        put(self._network, weights)
        with quiet():
            self._network.save_pretrained(folder)
            self._tokenizer.save_pretrained(folder)
        files.write_json(folder / "preprocessor_config.json", _processor(self._setting.side))


def _processor(side: int) -> dict[str, Any]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": True,
    }


def _network(sizes: Sizes, tokenizer: Any, side: int) -> Any:
    from transformers import CLIPConfig, CLIPModel

    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": LENGTH,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config=asdict(sizes.text) | text | {"projection_dim": sizes.dimension},
        vision_config=asdict(sizes.image)
        | {"image_size": side, "patch_size": sizes.patch, "projection_dim": sizes.dimension},
        projection_dim=sizes.dimension,
    )
    return CLIPModel(config)


def states_identity(folder: Path) -> str:
    """Return a hash of everything that determines the text states of a saved CLIP."""
    network: Any = load_network(open_folder(folder), "CLIPModel")
    digest = hashlib.sha256()
    for name, weight in sorted(network.text_model.state_dict().items()):
        digest.update(f"{name}\0".encode() + weight.half().numpy().tobytes())
    return digest.hexdigest()


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Render the scenes and create the network."""
    return Work(sizes, training_scenes("pictures", sizes.scenes, setting), setting)


def complete(folder: Path, setting: Setting) -> None:
    """Add the out-of-distribution statistics and the prompt templates of the finished encoder."""
    encoder = cast(ImageEncoder, load_encoder(str(folder), device=setting.device))
    count = _FAMILIAR_PER_LEAST * least_images(encoder.width, FALSE_ALARM_RATE)
    rows = other_rows("pictures", count, setting, world=_FAMILIAR_WORLD)
    images = as_images(rows["picture"])
    save_familiar(folder, make_familiar(encoder, images))
    save_templates(folder, _templates())


def _templates() -> list[str]:
    thing = ObjectFacts("cube")
    whole = [say(Facts((thing,), ground, time)) for ground in GROUNDS for time in TIMES]
    return [LOCATION, *(caption.replace(say(Facts((thing,))), LOCATION) for caption in whole)]
