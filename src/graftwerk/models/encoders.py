"""Loading encoders by name, caching of text vectors, and batch encoding of image files."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..data.dataset import ImageArray, OpenedData
from ..data.documents.formats import is_image_path
from ..data.images import NAMED_FORMATS, ImageNotes, read_image
from ..data.walk import list_files
from ..errors import BadFile, BadInput, LimitExceeded
from ..requests.base import DEFAULT_ENCODER, DEFAULT_IMAGE_ENCODER, Request
from ..results import Familiarity, Skipped
from ..settings import settings
from ..text_safety import counted
from ..types import Advance, Encoder, HiddenLayer, Monitor, Role, Vectors
from . import fast_text
from .checkpoint import ModelFolder, fingerprint
from .fast_text import load_graph
from .fetching import PHOTOGRAPHS, is_fetched
from .hub import loading, locate
from .image_encoder import IMAGE_MODELS, ImageEncoder, encode_and_compare, load_images
from .text_encoder import VOCABULARIES, Recipe, TextEncoder, read_recipe
from .transformers import build_config, choose_device, network_class

STATIC = "static"
_STATIC_PREFIX = "static:"
_CACHED_TEXTS = 20_000  # 30 MB of vectors of 384 dimensions
_STATIC_BASE = "builtin/minilm"
# Tokens in one batch including padding, tuned with MiniLM. Larger batches exceed a core's cache,
# smaller ones are dominated by overhead; a GPU needs large ones.
_BATCH_TOKENS = {"graph": 512, "cpu": 1024, "cuda": 65_536, "mps": 16_384}


def load_encoder(name: str, *, layer: HiddenLayer = None, device: str = "auto") -> Encoder:
    """Load an encoder.

    Args:
        name: `builtin/minilm`, a local folder, a hub id `owner/name@revision`, or `static` or
            `static:NAME` for the fast approximation distilled from one of these. A hub id that is
            not cached is fetched only inside `hub.named_by_user`.
        layer: use this hidden layer instead of the last one; see `types.HiddenLayer`. It is pooled
            as the model specifies, without the dense layers fitted to the last one.
        device: `cpu`, `cuda`, `mps`, or `auto`: the CPU for text encoders, whose ONNX graph starts
            without PyTorch; the GPU for the others if there is one.

    Raises:
        BadInput: the name, folder, layer or device cannot be used.
        Damaged: a weight file is cut short, or gives vectors that are not finite.
    """
    with loading(static_base(name) or name):
        return _load(name, layer, device)


def _load(name: str, layer: HiddenLayer, device: str) -> Encoder:
    base = static_base(name)
    if base is not None:
        return _load_distilled(name, base, layer)
    root = locate(name)
    recipe = read_recipe(root)
    identity = encoder_fingerprint(root, recipe, layer)
    if recipe.transformer.model_type == fast_text.MODEL_TYPE:
        return _load_static(name, recipe, identity, layer)
    if recipe.transformer.model_type in IMAGE_MODELS:
        usual = identity if layer is None else encoder_fingerprint(root, recipe, None)
        return load_images(name, recipe.transformer, identity, usual, layer, device)
    if not any(path.name in VOCABULARIES for path in recipe.transformer.path.iterdir()):
        require_texts(name, recipe.transformer)
    return _load_texts(name, recipe, identity, layer, device)


def require_texts(name: str, folder: ModelFolder) -> None:
    """Refuse a network that does not read text and is not in the table of image models.

    Raises:
        BadInput: names what it takes.
    """
    takes = network_class(folder, type(build_config(folder))).main_input_name
    if takes != "input_ids":
        raise BadInput(
            f"model {name!r} of type {folder.model_type!r} is not a known encoder: it takes "
            f"{takes}.",
            f"Name a text encoder, or a model of type {', '.join(sorted(IMAGE_MODELS))}.",
        )


def static_base(name: str) -> str | None:
    """Return the name of the encoder that a static one is distilled from; None for other names."""
    if name == STATIC:
        return _STATIC_BASE
    return name.removeprefix(_STATIC_PREFIX) if name.startswith(_STATIC_PREFIX) else None


def model_folder(name: str) -> Path:
    """Return the folder of an encoder; for a static one the folder of the distilled model.

    Raises:
        BadInput: the name cannot be used.
    """
    base = static_base(name)
    if base is None:
        return locate(name)
    root = locate(base)
    return fast_text.static_folder(encoder_fingerprint(root, read_recipe(root), None))


def encoder_fingerprint(root: Path, recipe: Recipe, layer: HiddenLayer) -> str:
    """Return the fingerprint of an encoder: its files and the settings it is used with."""
    choices = {"layer": layer, "pooling": recipe.pooling, "max_length": recipe.max_length}
    return fingerprint(root, choices)


def load_reference(
    name: str, recipe: Recipe, identity: str, layer: HiddenLayer, device: str
) -> TextEncoder:
    """Load a text encoder that runs in PyTorch."""
    from .torch_text import SentenceNetwork, forward_on, read_tokens

    location = choose_device("cpu" if device == "auto" else device)
    tokens = read_tokens(recipe)
    forward = forward_on(SentenceNetwork(recipe, layer), location)
    ids, mask = tokens.pad(tokens.read([""]))
    return TextEncoder(
        name=name,
        fingerprint=identity,
        dimension=forward(ids, mask, mask).shape[1],
        tokens=tokens,
        forward=forward,
        backend="pytorch",
        batch_tokens=_BATCH_TOKENS[location],
        prompts=recipe.prompts,
        pool_prompt=recipe.pool_prompt,
    )


def _load_texts(
    name: str, recipe: Recipe, identity: str, layer: HiddenLayer, device: str
) -> TextEncoder:
    graph = load_graph(recipe, identity) if layer is None and device in {"auto", "cpu"} else None
    if graph is None:
        return load_reference(name, recipe, identity, layer, device)
    return TextEncoder(
        name=name,
        fingerprint=identity,
        dimension=graph.dimension,
        tokens=graph.tokens,
        forward=graph.forward,
        backend="onnxruntime",
        batch_tokens=_BATCH_TOKENS["graph"],
        workers=settings().threads,
        prompts=recipe.prompts,
        pool_prompt=recipe.pool_prompt,
    )


def _load_distilled(name: str, base: str, layer: HiddenLayer) -> fast_text.StaticEncoder:
    root = locate(base)
    recipe = read_recipe(root)
    if recipe.transformer.model_type in {*IMAGE_MODELS, fast_text.MODEL_TYPE}:
        raise BadInput(
            f"{base!r} is of type {recipe.transformer.model_type}; a static encoder is distilled "
            "from a full text encoder.",
            "Name a text encoder, for example static:builtin/minilm.",
        )
    identity = encoder_fingerprint(root, recipe, None)
    folder = fast_text.distilled(
        base, identity, lambda: _load_texts(base, recipe, identity, None, "cpu")
    )
    known = fast_text.static_fingerprint(identity)
    return _load_static(name, read_recipe(folder), known, layer, rescorer=base)


def _load_static(
    name: str, recipe: Recipe, identity: str, layer: HiddenLayer, rescorer: str | None = None
) -> fast_text.StaticEncoder:
    if layer is not None:
        raise BadInput(f"{name!r} is static and has no hidden layers.", "Leave the layer out.")
    tokens, table = fast_text.read_static(recipe.transformer)
    return fast_text.StaticEncoder(name, identity, table.shape[1], tokens, table, rescorer)


class CachingEncoder:
    """An encoder that caches the vectors of recent texts.

    It is meant for answering questions, where search, answerability, writer and citations encode
    the same sentences, not for indexing. It is thread-safe.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.fingerprint = encoder.fingerprint
        self.dimension = encoder.dimension
        self.reads = encoder.reads
        self.rescorer = encoder.rescorer
        self._encoder = encoder
        self._cached: dict[tuple[Role, str], Vectors] = {}

    def encode_texts(
        self, texts: Sequence[str], role: Role = "document", advance: Advance | None = None
    ) -> Vectors:
        """Encode the texts that are not cached; `advance` counts only those."""
        requested = list(dict.fromkeys(texts))
        found = {t: v for t in requested if (v := self._cached.get((role, t))) is not None}
        unknown = [text for text in requested if text not in found]
        if unknown:
            vectors = self._encoder.encode_texts(unknown, role, advance)
            new = {text: vectors[n : n + 1].copy() for n, text in enumerate(unknown)}
            found |= new
            if len(self._cached) + len(new) > _CACHED_TEXTS:
                self._cached = {}
            self._cached.update({(role, text): vector for text, vector in new.items()})
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return np.concatenate([found[text] for text in texts])

    def encode_images(self, images: Sequence[Any], advance: Advance | None = None) -> Vectors:
        """Encode images, without caching."""
        return self._encoder.encode_images(images, advance)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens in `text`."""
        return self._encoder.count_tokens(text)


_BATCH_PIXELS = 50_000_000  # pixels of images in memory at once, about 150 MB
_BATCH = 32  # images
_FEWEST_REAL = 40  # images needed as a reference


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of the images that could be read.

    Attributes:
        places: indices into the list of requested images.
        vectors: one row per image.
        familiarity: out-of-distribution result per image; None if the encoder provides none.
        skipped: the images that could not be read, with reasons.
    """

    places: list[int]
    vectors: Vectors
    familiarity: list[Familiarity] | None
    skipped: list[Skipped]

    @property
    def unfamiliar(self) -> int | None:
        """Number of images out of distribution; None if the encoder cannot detect them."""
        return None if self.familiarity is None else sum(x.unfamiliar for x in self.familiarity)


def list_images(named: Sequence[str]) -> tuple[list[str], list[Skipped]]:
    """Return the sorted paths of the named images and folders, and the skipped items.

    Raises:
        BadFile: a named path does not exist.
        BadInput: there is no image.
    """
    found = list_files(named)
    images = [path for path in found.files if is_image_path(path)]
    # other files in a folder of images are ignored
    own = {os.path.abspath(path) for path in named}  # noqa: PTH100  a name of any bytes
    skipped = [skip for skip in found.skipped if skip.path in own or is_image_path(skip.path)]
    skipped += [
        Skipped(path=path, reason="It is not an image.")
        for path in found.files
        if path in own and not is_image_path(path)
    ]
    if not images:
        raise nothing_readable(named, skipped)
    return images, skipped


def nothing_readable(named: Sequence[str], skipped: Sequence[Skipped]) -> BadInput:
    """Return the error for the case that no image is left."""
    shown = "; ".join(
        f"{os.path.basename(skip.path)}: {skip.reason.rstrip('.')}"  # noqa: PTH119
        for skip in skipped[:3]
    )
    more = f"; and {len(skipped) - 3:,} more" if len(skipped) > 3 else ""
    where = ", ".join(named[:3]) + (", ..." if len(named) > 3 else "")
    return BadInput(
        f"there is no readable image in {where}{': ' if shown else ''}{shown}{more}.",
        f"Name image files ({NAMED_FORMATS}), or folders of them.",
    )


def encode_image_files(encoder: Encoder, paths: Sequence[str], monitor: Monitor) -> Encoded:
    """Read and embed images in batches; images that cannot be read are skipped and listed.

    Raises:
        Cancelled: stopped by the monitor.
    """
    monitor.start("embedding images", len(paths))
    locations: list[int] = []
    skipped: list[Skipped] = []
    vectors = np.empty((len(paths), encoder.dimension), dtype=np.float32)
    distances = np.empty(len(paths))
    reported = False
    waiting: list[tuple[int, object]] = []
    pixels = 0
    notes = ImageNotes()
    for location, path in enumerate(paths):
        try:
            image = read_image(path, notes)
        except (BadFile, LimitExceeded) as error:
            skipped.append(Skipped(path=path, reason=error.text))
            monitor.advance()
        else:
            waiting.append((location, image))
            pixels += image.width * image.height
        if len(waiting) >= _BATCH or pixels >= _BATCH_PIXELS or location == len(paths) - 1:
            numbers = [number for number, _ in waiting]
            images = [one for _, one in waiting]
            vectors[numbers], far = encode_and_compare(encoder, images, monitor.advance)
            if far is not None:
                reported, distances[numbers] = True, far
            locations += numbers
            waiting, pixels = [], 0
    notes.report(monitor)
    known = familiarity(encoder, distances[locations]) if reported else None
    return Encoded(locations, vectors[locations], known, skipped)


def familiarity(encoder: Encoder, distances: Float64[np.ndarray, " n"]) -> list[Familiarity] | None:
    """Convert out-of-distribution distances into the form used in reports."""
    if not isinstance(encoder, ImageEncoder) or encoder.familiar is None:
        return None
    return [
        Familiarity(
            distance=float(distance),
            unfamiliar=bool(distance > 1),
            false_alarm_rate=encoder.familiar.false_alarm_rate,
        )
        for distance in distances
    ]


# times the familiarity limit; generated Blocks scenes reach 1.2 of it (24 images), and
# photographs begin at 1.4 (60 of ImageNet classes)
_UNLIKE = 1.3
_LOOKED_AT = 32  # of many images, evenly spaced


def suited_encoder(
    request: Request[Any], images: Sequence[Any], monitor: Monitor, field: str = "encoder"
) -> str:
    """Return the model that `field` of a request names, or the default that suits the images.

    For photographs that is `imagenet`, if it was fetched, which a note says. Images, items of a
    data set or paths, are photographs if most of a sample are unlike Blocks scenes.
    """
    name: str = getattr(request, field) or DEFAULT_ENCODER
    texts = (one for one in images if isinstance(one, str) and not is_image_path(one))
    if field in request.model_fields_set or not images or not is_fetched(PHOTOGRAPHS):
        return name
    sample = images[:: -(-len(images) // _LOOKED_AT)]
    if any(texts) or 2 * _count_unlike_blocks(sample, request.device) <= len(sample):
        return name
    monitor.note(f"no model was named: {PHOTOGRAPHS} reads these photographs (it reads no texts)")
    return PHOTOGRAPHS


def _count_unlike_blocks(images: Sequence[Any], device: str) -> int:
    encoder = load_encoder(DEFAULT_IMAGE_ENCODER, device=device)
    count = 0
    for one in images:
        with suppress(BadInput):  # what cannot be read is reported where it is used
            image = (ImageArray(one) if isinstance(one, str) else one).open()
            _, distances = encode_and_compare(encoder, [image])
            count += 0 if distances is None else int((distances > _UNLIKE).sum())
    return count


def note_unlike_blocks(
    images: Sequence[Any], what: str, who: str, monitor: Monitor, *, advice: str, device: str
) -> bool:
    """Report images that are unlike the Blocks scenes a built-in model was trained on.

    Args:
        images: `PIL.Image` images.
        what: what messages call them, in the singular.
        who: the model or component that knows only Blocks scenes.
        monitor: receives the note.
        advice: what to do instead.
        device: device of the encoder that detects them.

    Returns:
        Whether any image is out of distribution.
    """
    if not images:
        return False
    count = _count_unlike_blocks([OpenedData(image) for image in images], device)
    if count:
        those = (
            f"the {what} is" if len(images) == 1 else f"{count:,} of {len(images):,} {what}s are"
        )
        monitor.note(f"{those} unlike the Blocks scenes that {who} knows; {advice}")
    return count > 0


def real_images_in(folder: str) -> list[str]:
    """Return the paths of a folder's images that serve as reference for realism.

    Raises:
        BadFile: there is no such folder.
        BadInput: it holds too few.
    """
    paths, _ = list_images([folder])
    if len(paths) < _FEWEST_REAL:
        raise BadInput(
            f"{folder} holds {counted(len(paths), 'image')}; {_FEWEST_REAL} are needed to know "
            "what is usual.",
            "Name a folder with more.",
        )
    return paths
