"""Encode texts and images as unit vectors with a frozen encoder."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from jaxtyping import Float32

from .. import types
from ..errors import BadInput
from ..models import encoders
from ..models.hub import named_by_user
from ..models.image_encoder import ImageEncoder, unit
from ..models.ood import make_familiar, save_familiar
from ..requests.base import DEFAULT_ENCODER, Device, checked
from ..requests.search import Embed
from ..results import Modality
from ..types import Monitor, Role, Silent, Vectors

if TYPE_CHECKING:
    from PIL.Image import Image

Item = Union[str, "Image"]
_IMAGES = 32  # maximum number in memory


def load_encoder(
    name: str = DEFAULT_ENCODER, *, layer: int | None = None, device: Device = "auto"
) -> "Encoder":
    """Load a frozen encoder.

    >>> import graftwerk as gw
    >>> encoder = gw.load_encoder("builtin/minilm")
    >>> encoder.encode(["a red cube", "taxes"]).shape
    (2, 384)
    >>> encoder.similarity(["a red cube"], ["a red block", "taxes"]).argmax().item()
    0

    Args:
        name: `builtin/minilm`, `static`, `static:NAME`, a local folder, or a hub id
            `owner/name@revision`, which is downloaded if it is not cached.
        layer: hidden layer to use instead of the last (0: the embeddings).
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        BadInput: the name, folder, layer or device cannot be used.
        Damaged: a weight file is truncated, or gives vectors that are not finite.
    """
    request = checked(Embed, inputs=[""], encoder=name, layer=layer, device=device)
    with named_by_user([name]):
        return Encoder(
            encoders.load_encoder(request.encoder, layer=request.layer, device=request.device)
        )


class Encoder(types.Unpicklable):
    """A frozen encoder; created by `load_encoder`.

    >>> import graftwerk as gw
    >>> gw.load_encoder("builtin/minilm")
    <Encoder builtin/minilm: text, 384 dimensions>

    Attributes:
        name: name under which it was loaded.
        dimension: length of a vector.
        fingerprint: hash of the weights and of everything else that affects vectors.
        reads: `text`, `image` or both.
        model: the frozen model.
    """

    def __init__(self, model: types.Encoder) -> None:
        self.model = model

    @property
    def name(self) -> str:
        """Name under which it was loaded."""
        return self.model.name

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.model.dimension

    @property
    def fingerprint(self) -> str:
        """Hash of the weights and of everything else that affects vectors."""
        return self.model.fingerprint

    @property
    def reads(self) -> frozenset[Modality]:
        """`text`, `image` or both."""
        return self.model.reads

    def learn_familiar(self, images: "Sequence[Image]") -> None:
        """Learn the encoder's distribution of images, to report images that are out of it.

        It is saved in the folder of the encoder's weights, and does not change its vectors.

        Args:
            images: some thousands of images like the encoder's training images, but none of these.

        Raises:
            BadInput: the encoder does not read images or has no folder, there are too few images,
                or all are equal.
            NoRoom: the folder cannot be written.
        """
        if not isinstance(self.model, ImageEncoder):
            raise BadInput(
                f"the encoder {self.name} reads no images.", "Load one that does, such as a CLIP."
            )
        save_familiar(self.model.folder, make_familiar(self.model, list(images)))

    def __repr__(self) -> str:
        reads = " and ".join(sorted(self.reads, reverse=True))
        return f"<Encoder {self.name}: {reads}, {self.dimension} dimensions>"

    def encode(
        self,
        items: Item | Iterable[Item],
        *,
        role: Role = "document",
        monitor: Monitor | None = None,
    ) -> Vectors:
        """Return one unit vector for each text or image.

        Args:
            items: texts and `PIL.Image` images in any mixture; a single item gives one row.
            role: `query` or `document`, for models with different prompts for them.
            monitor: informed about progress; may stop the work by raising.

        Returns:
            float32 [n d], rows of length 1.

        Raises:
            BadInput: an item is neither a text nor an image, or is not supported by this encoder.
        """
        listener = monitor or Silent()
        texts: dict[int, str] = {}
        images: dict[int, Any] = {}
        rows: dict[int, Float32[np.ndarray, " d"]] = {}

        def encode_images() -> None:
            vectors = self.model.encode_images(list(images.values()), listener.advance)
            rows.update(zip(images, vectors, strict=True))
            images.clear()

        for number, item in enumerate(_several(items)):
            if isinstance(item, str):
                self._require("text", number)
                texts[number] = item
                continue
            _require_image(item, number)
            self._require("image", number)
            images[number] = item
            if len(images) == _IMAGES:
                encode_images()
        if images:
            encode_images()
        if texts:
            vectors = self.model.encode_texts(list(texts.values()), role, listener.advance)
            rows.update(zip(texts, vectors, strict=True))
        if not rows:
            return np.empty((0, self.dimension), dtype=np.float32)
        return np.stack([rows[number] for number in range(len(rows))]).astype(
            np.float32, copy=False
        )

    def similarity(
        self, a: Vectors | Item | Sequence[Item], b: Vectors | Item | Sequence[Item]
    ) -> Vectors:
        """Return the cosine similarity matrix, float32 [n m].

        Args:
            a: vectors [n d] of this encoder, or texts and images, which are encoded first.
            b: the same, with m rows.

        Raises:
            BadInput: the vectors have another dimension.
        """
        return np.asarray(self._vectors(a) @ self._vectors(b).T)

    def _vectors(self, given: Vectors | Item | Sequence[Item]) -> Vectors:
        if not isinstance(given, np.ndarray):
            return self.encode(given)
        if given.ndim != 2 or given.shape[1] != self.dimension:
            raise BadInput(
                f"the vectors have the shape {given.shape}; those of {self.name} have "
                f"(n, {self.dimension}).",
                "Pass what encode() of this encoder returned, or texts and images.",
            )
        return unit(given.astype(np.float32, copy=False))

    def _require(self, kind: Modality, number: int) -> None:
        if kind not in self.reads:
            raise BadInput(
                f"item {number} is {'a text' if kind == 'text' else 'an image'}, and the encoder "
                f"{self.name} reads only {' and '.join(sorted(self.reads))}.",
                "Pass the other kind, or load an encoder that reads both.",
            )


def _several(items: Any) -> Iterable[Any]:
    """Return a single item as a list of one."""
    if isinstance(items, str) or hasattr(items, "getbands"):
        return [items]
    if not isinstance(items, Iterable):
        raise BadInput(f"{items!r:.60} cannot be encoded.", "Pass texts or PIL images.")
    return items


def _require_image(item: Any, number: int) -> None:
    from PIL import Image

    if not isinstance(item, Image.Image):
        raise BadInput(
            f"item {number} is {item!r:.60}, neither a text nor a PIL image.",
            "Pass texts or PIL images; open a file with PIL.Image.open.",
        )
