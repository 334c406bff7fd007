"""What a joint encoder says of clean pictures, with a gradient."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..blocks.captions import object_phrases
from ..contracts import Vectors
from ..errors import UnknownName
from ..frozen.images import ImageEncoder
from ..frozen.looking import Look
from ..frozen.softened import softened
from ..frozen.zero_shot import PLACE, label_vectors, templates_of


@dataclass(frozen=True)
class Joint:
    """A joint encoder with a gradient for pictures."""

    encoder: ImageEncoder
    look: Look
    device: str

    def of_vectors(self, vectors: Vectors, content: str) -> tuple[Callable[[Tensor], Tensor], str]:
        """The cosine with one vector, -1 to 1, and a fingerprint."""
        wanted = torch.from_numpy(vectors[0]).to(self.device)

        def cosine(pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, " b"]:
            return self.look(_in_colour(pictures)) @ wanted

        return cosine, _digest(self.encoder.fingerprint, content)

    def of_classes(
        self, wanted: Sequence[str], labels: Sequence[str], temperature: float
    ) -> tuple[Callable[[Tensor], Tensor], str]:
        """Log p of a label among all of them, zero-shot, and a fingerprint.

        Args:
            wanted: the label of all rows, or one for each.
            labels: all of them; none: kinds and colours of Blocks objects.
            temperature: divides the logits for the gradient alone, see `softened`.

        Raises:
            UnknownName: one is none of the labels.
        """
        phrases = {name: name for name in labels} if labels else object_phrases()
        names = list(phrases)
        for label in wanted:
            if label not in phrases:
                raise UnknownName("class", label, names)
        templates = templates_of(self.encoder.folder) if labels else (PLACE,)
        heads = label_vectors(self.encoder, list(phrases.values()), templates)
        weights = torch.from_numpy(heads).to(self.device)
        scale = self.encoder.logit_scale or 1.0
        places = torch.tensor([names.index(label) for label in wanted], device=self.device)

        def log_prob(pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, " b"]:
            logits = scale * self.look(_in_colour(pictures)) @ weights.T
            own = places.expand(len(pictures))[:, None]

            def log_of_own(logits: Tensor) -> Tensor:
                return functional.log_softmax(logits, dim=-1).gather(1, own)[:, 0]

            return softened(log_of_own, logits, temperature)

        return log_prob, _digest(self.encoder.fingerprint, *phrases.values(), *templates)


def _in_colour(pictures: Float[Tensor, "b k y x"]) -> Float[Tensor, "b 3 y x"]:
    return pictures if pictures.shape[1] == 3 else pictures.expand(-1, 3, -1, -1)


def _digest(*parts: Any) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()
