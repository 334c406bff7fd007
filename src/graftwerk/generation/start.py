"""The image that sampling starts from, and the mask of what is repainted."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.nn import functional

from ..controlnet.inputs import mask_of
from ..data.images import ImageNotes
from ..diffusion.img2img import EditedImage, Regions, StartImage, edit_mask
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.prompts import TextReader, TextStates, join
from ..diffusion.sampling import ImageArray, decode, encode, fit, invert_ddim
from ..errors import BadInput
from ..requests.generate import Generate
from ..types import Monitor
from .results import StartReport
from .spec import Region, Start
from .steered import SteeredModel

# Gray levels by which an edited pixel may differ from the image, coded likewise, to be taken as not
# edited; and from which on it is. Set on Blocks scenes, see docs/generate.md.
_SAME, _OTHER = 12.0, 36.0


@dataclass(frozen=True, slots=True, eq=False)
class OpenStart:
    """An image to start from, prepared for a model.

    Attributes:
        latents: encoded image and mask for the sampler.
        repainted: mask of the pixels that are generated; none at strength 0.
        fingerprints: fingerprints of the image and of its mask.
        coded: the image as the autoencoder gives it back, for an edit that finds its own mask.
    """

    start: Start
    latents: StartImage | EditedImage
    pixels: UInt8[np.ndarray, "h w 3"]
    repainted: Bool[np.ndarray, "h w"]
    fingerprints: tuple[str, ...]
    coded: UInt8[np.ndarray, "h w 3"] | None = None

    def finish(self, images: Sequence[ImageArray]) -> list[ImageArray]:
        """Restore original pixels in decoded images where nothing was generated, or edited."""
        if not self.start.paste:
            return list(images)
        if self.coded is not None:
            images = [self._blended(image, self.coded) for image in images]
        if self.repainted.all():
            return list(images)
        mask = Image.fromarray(self.repainted)
        own = Image.fromarray(self.pixels)
        return [Image.composite(image, own.convert(image.mode), mask) for image in images]

    def _blended(self, image: ImageArray, coded: UInt8[np.ndarray, "h w 3"]) -> ImageArray:
        """Keep the pixels that an edit hardly changes, whatever its coarse mask says."""
        own, rows = (np.asarray(one, dtype=np.float64) for one in (self.pixels, image))
        apart = Image.fromarray(np.abs(rows - coded).max(axis=-1).astype(np.uint8))
        change = np.asarray(apart.filter(ImageFilter.BoxBlur(1)))[..., None]
        share = np.clip((change - _SAME) / (_OTHER - _SAME), 0, 1)
        return Image.fromarray(np.rint(own + share * (rows - own)).astype(np.uint8))

    def report(self, images: Sequence[ImageArray], steps: int, of: int) -> StartReport:
        """Report how much the images differ from the original."""
        rows = np.stack([np.asarray(image.convert("RGB"), dtype=np.int64) for image in images])
        changes = np.abs(rows - self.pixels)
        inside, outside = changes[:, self.repainted], changes[:, ~self.repainted]
        return StartReport(
            image=self.start.image.name,
            mask=None if self.start.mask is None else self.start.mask.name,
            strength=self.start.strength,
            steps=steps,
            of_steps=of,
            repainted=float(self.repainted.mean()),
            changed=float(inside.mean()) if inside.size else 0.0,
            outside=int(outside.max()) if outside.size else None,
        )


def open_start(
    start: Start, model: DiffusionModel, size: tuple[int, int], monitor: Monitor
) -> OpenStart:
    """Crop an image and its mask to the generated size, and encode the image.

    The mask is thresholded at half of white and resized to latents by nearest neighbor, as in
    diffusers.

    Raises:
        BadInput: the white parts of the mask are too small to cover any latent.
    """
    notes = ImageNotes()
    pixels = fit(start.image.image, *size)
    notes.add(start.image.notes)
    repainted, mask = np.full(pixels.shape[:2], start.strength > 0), None
    prints = [hashlib.sha256(pixels.tobytes()).hexdigest()]
    if start.mask is not None:
        notes.add(start.mask.notes)
        grey = ImageOps.fit(start.mask.image.convert("L"), size, Image.Resampling.LANCZOS)
        white = np.asarray(grey) > 127
        prints.append(hashlib.sha256(np.packbits(white).tobytes()).hexdigest())
        mask = _of_latents(white, model, start.mask.name).to(model.device)
        repainted &= white
        if not white.any():
            monitor.note(
                f"the mask {start.mask.name} is nowhere brighter than half of white: nothing is "
                "repainted"
            )
        (wide, high), (width, height) = start.mask.image.size, start.image.image.size
        if abs(wide * height - high * width) > 0.02 * high * width:
            monitor.note(
                f"the mask {start.mask.name} ({wide} x {high} pixels) has other proportions than "
                f"the image ({width} x {height}): each is cropped at its own center"
            )
    notes.report(monitor)
    from_noise = mask is not None and start.strength == 1
    latents = StartImage(encode(model, pixels[None]), mask, from_noise)
    return OpenStart(start, latents, pixels, repainted, tuple(prints))


def open_edit(
    start: OpenStart, request: Generate, steered: SteeredModel, sigmas: Sequence[float]
) -> OpenStart:
    """Invert the image to its noise with its own prompt, and find what the edit may change.

    Raises:
        BadInput: the model takes no prompts, its attention cannot be held, or it has controls or
            guides.
    """
    if steered.controls or steered.guides or steered.weaker:
        raise BadInput("an edit takes no controls and no guides.", "Leave them or the source out.")
    model = steered.model
    reader, source, image = model.reader, (request.source or "").strip(), start.latents
    if reader is None or isinstance(image, EditedImage):
        raise BadInput(f"model {model.name!r} takes no prompt.", "Leave --source out.")
    own, asked = (reader.read([text.strip()]) for text in (source, request.prompt))
    joined = model.denoiser(join(join(own, asked), own))
    words = len(source.split()) == len(request.prompt.split())
    held = joined.hold(1, words)
    level = float(model.noise.sigmas[len(model.noise.sigmas) // 2])
    with torch.inference_mode():
        inverted = invert_ddim(model.denoiser(own), image.clean, sigmas)
        mask, coded = image.mask, None
        if mask is None:
            coded = np.asarray(decode(model, image.clean)[0].convert("RGB"))
            texts = (model.denoiser(own), model.denoiser(asked))
            mask = edit_mask(*texts, image.clean, level, request.seed)
    lasting = math.ceil(request.hold * (len(sigmas) - 1))
    lowest = sigmas[lasting - 1] if lasting else math.inf
    edited = EditedImage(image.clean, inverted, mask, held, joined, lowest, request.cfg)
    side = model.factor
    area = mask[0, 0].cpu().numpy().repeat(side, axis=0).repeat(side, axis=1)
    return replace(start, latents=edited, repainted=start.repainted & area, coded=coded)


@dataclass(frozen=True, slots=True, eq=False)
class OpenRegions:
    """Prompts for parts of an image, prepared for a model.

    Attributes:
        regions: for the sampler; None if one prompt has all of the image, or there are none.
        texts: that prompt.
        fingerprints: of the masks.
    """

    regions: Regions | None
    texts: TextStates | None
    fingerprints: tuple[str, ...] = ()


def open_regions(
    regions: Sequence[Region],
    rest: TextStates | None,
    model: DiffusionModel,
    reader: TextReader | None,
    size: tuple[int, int],
) -> OpenRegions:
    """Encode the prompts of regions and share out the latents among them.

    Where masks overlap, their prompts have equal shares; the first prompt gets what is left.

    Raises:
        BadInput: a mask is black all over.
    """
    if not regions or reader is None or rest is None:
        return OpenRegions(None, rest)
    white = [mask_of([region.mask], size, model.device) for region in regions]
    masks = torch.cat([mask for mask in white if mask is not None])
    _, height, width = model.shape(*size)
    shares = functional.adaptive_avg_pool2d(masks, (height, width))
    total = shares.sum(dim=0, keepdim=True)
    shares = torch.cat([(1 - total).clamp(min=0), shares / total.clamp(min=1)])
    texts = join(rest, reader.read([region.prompt for region in regions]))
    acting = [number for number in range(len(shares)) if bool(shares[number].any())]
    pooled = None if texts.pooled is None else texts.pooled[acting]
    texts = replace(texts, states=texts.states[acting], pooled=pooled)
    prints = tuple(hashlib.sha256(mask.cpu().numpy().tobytes()).hexdigest() for mask in masks)
    found = None if len(acting) == 1 else Regions(texts, shares[acting])
    return OpenRegions(found, texts, prints)


def _of_latents(white: Bool[np.ndarray, "h w"], model: DiffusionModel, name: str) -> Tensor:
    rows = torch.from_numpy(white)[None, None].float()
    _, height, width = model.shape(white.shape[1], white.shape[0])
    found = functional.interpolate(rows, size=(height, width)) > 0.5
    if white.any() and not bool(found.any()):
        raise BadInput(
            f"the white parts of the mask {name} are smaller than the {model.factor} x "
            f"{model.factor} pixels that one latent of the model stands for.",
            "Paint them larger; white is what is repainted.",
        )
    return found
