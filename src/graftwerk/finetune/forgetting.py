"""Prior tasks of a model, to measure what fine-tuning forgets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from ..adapters.linear_head import LinearHead
from ..blocks.captions import object_phrases
from ..blocks.renderer import render
from ..blocks.sampling import sample_scene
from ..data.dataset import Item, OpenedData
from ..data.targets import Targets
from ..errors import BadInput
from ..models.encoders import load_encoder
from ..models.zero_shot import label_vectors, require_joint, templates_of
from .base_model import Base, Encode
from .problem import Problem
from .scoring import ignore, point
from .tune import loss_of

_WORLD = 4_004  # seed of the scenes; no model is trained on it
_SCENES, _SIDE = 400, 64  # number of scenes, and their side in pixels


@dataclass(frozen=True)
class PriorTask:
    """A head on the frozen features, and labelled items to evaluate it on.

    Attributes:
        name: name for people.
        head: head that reads the features.
        items: items, none of which was learned from.
        targets: their labels.
    """

    name: str
    head: LinearHead
    items: Sequence[Item]
    targets: Targets

    def measure(self, encode: Encode) -> tuple[float, float]:
        """Return score and mean loss of the head on the current features of `encode`.

        The loss is in nats for classes and labels, and the mean square error of a number.
        """
        scores = self.head.score(encode(self.items, ignore))
        values, task = self.targets.values, self.targets.task
        weights = torch.ones(self.targets.outputs)
        loss = loss_of(task, torch.from_numpy(scores), torch.from_numpy(values), weights)
        return point(scores, values, task), float(loss)


def of_head(name: str, head: LinearHead, problem: Problem) -> PriorTask:
    """Return a task from a previously fitted head and the test examples of its own data."""
    return PriorTask(name, head, *_tested(problem))


def of_words(problem: Problem) -> PriorTask:
    """Return zero-shot classification of the images' labels as a task."""
    if problem.targets.task != "class" or problem.examples.kind != "image":
        raise BadInput(
            f"{problem.examples.source} contains no images with a class each.",
            "Name a fit on these data with --old.",
        )
    items, targets = _tested(problem)
    head = _head_of_words(problem.base, targets.labels)
    name = f"zero-shot, {len(targets.labels)} classes of {problem.examples.source}"
    return PriorTask(name, head, items, targets)


def of_scenes(base: Base) -> PriorTask:
    """Return zero-shot classification of kind and colour of rendered objects as a task."""
    phrases = object_phrases()
    names, labels = list(phrases), tuple(phrases.values())
    items: list[Item] = []
    values = np.empty(_SCENES, dtype=np.int64)
    for number in range(_SCENES):
        scene = sample_scene(_WORLD, number, count=1)
        items.append(_opened(render(scene, _SIDE, _SIDE)))
        values[number] = names.index(f"{scene.objects[0].colour} {scene.objects[0].kind}")
    name = f"zero-shot, kind and colour of {_SCENES} rendered objects, {len(labels)} classes"
    return PriorTask(name, _head_of_words(base, labels), items, Targets("class", labels, values))


def is_joint(base: Base) -> bool:
    """Whether the model's image features can be compared with text features."""
    return {"text", "image"} <= base.reads and base.layer is None


def _tested(problem: Problem) -> tuple[Sequence[Item], Targets]:
    test = problem.split.test
    targets = problem.targets
    items = [problem.examples.items[location] for location in test.tolist()]
    return items, Targets(targets.task, targets.labels, targets.values[test])


def _head_of_words(base: Base, labels: Sequence[str]) -> LinearHead:
    encoder = require_joint(load_encoder(base.name, device=base.device))
    heads = label_vectors(encoder, labels, templates_of(encoder.folder))
    return LinearHead(
        weight=heads * np.float32(encoder.logit_scale or 1.0),
        bias=np.zeros(len(labels), dtype=np.float32),
        task="class",
        labels=tuple(labels),
        base=base.fingerprint,
    )


def _opened(image: UInt8[np.ndarray, "h w 3"]) -> OpenedData:
    from PIL import Image

    return OpenedData(Image.fromarray(image))
