"""Training pairs from a user's images: latents, prompts and conditions, computed once."""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image

from .. import files
from ..conditions.base import Condition
from ..data.dataset import ImageArray
from ..data.image_folder import CONDITION, METADATA, CaptionedImages
from ..data.images import ImageNotes
from ..diffusion.pipeline import DiffusionModel
from ..diffusion.prompts import TextStates
from ..diffusion.sampling import fit, to_values
from ..errors import BadFile, BadInput, few
from ..text_safety import counted
from ..types import Monitor
from .task import Batch

_BATCH, _READ = 16, 256
KEY = "pairs.json"
Draw = Callable[[UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "h w 3"]]


def is_empty(maps: UInt8[np.ndarray, "n y x 3"]) -> Bool[np.ndarray, " n"]:
    """Mark maps with a single color."""
    empty: Bool[np.ndarray, " n"] = (maps == maps[:, :1, :1]).all(axis=(1, 2, 3))
    return empty


@dataclass(frozen=True, eq=False)
class StoredPairs:
    """Pairs in memory-mapped files; see `task.Pairs`.

    Attributes:
        states: of the prompts; None for a model without prompts.
        pooled: one vector per prompt, if the model uses it.
        chosen: indices of the pairs in this subset.
    """

    latents: Float32[np.ndarray, "n c h w"]
    maps: UInt8[np.ndarray, "n y x 3"]
    states: np.ndarray | None
    pooled: np.ndarray | None
    empty: TextStates | None
    chosen: Int64[np.ndarray, " k"]

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, numbers: Int64[np.ndarray, " n"], predicted: np.ndarray) -> Batch:
        """Return these pairs; the prompt is empty for those not `predicted`."""
        rows = self.chosen[numbers]
        texts = None
        if self.states is not None and self.empty is not None:
            silent = torch.from_numpy(~predicted)
            states = torch.from_numpy(self.states[rows].copy())
            states[silent] = self.empty.states[0]
            pooled = None
            if self.pooled is not None and self.empty.pooled is not None:
                pooled = torch.from_numpy(self.pooled[rows].copy())
                pooled[silent] = self.empty.pooled[0]
            texts = TextStates(states, pooled)
        latents = torch.from_numpy(self.latents[rows].copy())
        return Batch(latents, np.ascontiguousarray(self.maps[rows]), texts)

    def empty_maps(self) -> int:
        """Count conditions with a single color."""
        parts = np.array_split(self.chosen, max(1, len(self.chosen) // _READ))
        return sum(int(is_empty(self.maps[part]).sum()) for part in parts)

    def split(self, held_out: int, seed: int) -> "tuple[StoredPairs, StoredPairs]":
        """Split into training and held-out pairs.

        Raises:
            BadInput: there are too few.
        """
        total = len(self.chosen)
        if held_out < 2 or total - held_out < 2:
            raise BadInput(
                f"{counted(total, 'pair')} cannot be shared out: {held_out} held out of them.",
                "Bring more images, or hold out fewer; two of each are needed.",
            )
        order = np.random.default_rng(seed).permutation(self.chosen)
        return self.only(order[held_out:]), self.only(order[:held_out])

    def only(self, chosen: Int64[np.ndarray, " k"]) -> "StoredPairs":
        """Return a subset of the pairs, in a fixed order."""
        return replace(self, chosen=np.sort(chosen))


@dataclass(frozen=True, slots=True)
class PairSource:
    """User-provided images.

    Attributes:
        maps: conditions of each, as images; None if they are computed.
        draw: computes the condition of an image.
        identity: hash of what determines the conditions.
    """

    pictures: Sequence[Image.Image]
    captions: Sequence[str]
    maps: Sequence[Image.Image] | None
    draw: Draw | None
    identity: str
    notes: tuple[str, ...] = ()


def store_pairs(
    raw: PairSource, model: DiffusionModel, folder: Path, monitor: Monitor
) -> StoredPairs:
    """Compute what is missing of the stored pairs, and open them.

    Raises:
        NoRoom: the folder cannot be written.
        Cancelled: stopped by the monitor.
    """
    for note in raw.notes:
        monitor.note(note)
    width, height = model.size
    fitted = [fit(image, width, height) for image in raw.pictures]
    key = _key_of(raw, fitted, model)
    done = (folder / KEY).is_file() and files.read_json(folder / KEY) == key
    if not done:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / KEY).unlink(missing_ok=True)
        _write_all(raw, fitted, model, folder, monitor)
        files.write_json(folder / KEY, key)
    names = {path.stem for path in folder.glob("*.npy")}
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names
    }
    empty = None
    if model.reader is not None:
        like = TextStates(torch.from_numpy(arrays["states"][:1].copy()))
        if "pooled" in arrays:
            like = TextStates(like.states, torch.from_numpy(arrays["pooled"][:1].copy()))
        found = model.reader.read_nothing(like)
        empty = TextStates(found.states.cpu(), None if found.pooled is None else found.pooled.cpu())
    return StoredPairs(
        arrays["latents"],
        arrays["maps"],
        arrays.get("states"),
        arrays.get("pooled"),
        empty,
        np.arange(len(fitted)),
    )


def is_pairs(folder: Path) -> bool:
    """Whether a folder is marked as stored pairs."""
    with suppress(BadFile, OSError):
        key = files.read_json(folder / KEY)
        return isinstance(key, dict) and key.keys() == {"content", "model", "maps"}
    return False


def _key_of(
    raw: PairSource, fitted: Sequence[UInt8[np.ndarray, "h w 3"]], model: DiffusionModel
) -> dict[str, str]:
    digest = hashlib.sha256(json.dumps(list(raw.captions)).encode())
    for image in fitted:
        digest.update(image.tobytes())
    for map_ in raw.maps or ():
        digest.update(map_.tobytes())
    return {"content": digest.hexdigest(), "model": model.fingerprint, "maps": raw.identity}


def _write_all(
    raw: PairSource,
    fitted: Sequence[UInt8[np.ndarray, "h w 3"]],
    model: DiffusionModel,
    folder: Path,
    monitor: Monitor,
) -> None:
    monitor.start("encoding pairs", len(fitted))
    latents, states, pooled, maps = [], [], [], []
    for start in range(0, len(fitted), _BATCH):
        part = np.stack(fitted[start : start + _BATCH])
        with torch.inference_mode():
            latents.append(model.space.encode(to_values(part).to(model.device)).cpu().numpy())
            if model.reader is not None:
                texts = model.reader.read(list(raw.captions[start : start + _BATCH]))
                states.append(texts.states.cpu().numpy())
                if texts.pooled is not None:
                    pooled.append(texts.pooled.cpu().numpy())
        maps += _maps_of(raw, part, start)
        monitor.advance(len(part))
    for name, arrays in (("latents", latents), ("states", states), ("pooled", pooled)):
        if arrays:
            _write(folder / f"{name}.npy", np.concatenate(arrays))
    _write(folder / "maps.npy", np.stack(maps))


def _maps_of(
    raw: PairSource, images: UInt8[np.ndarray, "n h w 3"], start: int
) -> list[UInt8[np.ndarray, "h w 3"]]:
    if raw.maps is not None:
        size = images.shape[2], images.shape[1]
        some = raw.maps[start : start + len(images)]
        return [fit(map_, *size) for map_ in some]
    if raw.draw is None:
        raise ValueError("neither conditions nor a way to make them")
    return [raw.draw(image) for image in images]


def _write(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    files.write_bytes(path, buffer.getvalue())


_SLANT = 0.02  # by which the sides of a condition and its image may be in another proportion


def raw_pairs(conditions: Path | None, shown: CaptionedImages, condition: Condition) -> PairSource:
    """Return captioned images with their conditions, provided or to be computed.

    Args:
        conditions: folder of finished conditions; None to use a column of the table, or to compute
            them.
        shown: the images.
        condition: computed if none are provided.

    Raises:
        BadInput: some images have no condition, or one of another kind.
    """
    paths = _provided(conditions, shown)
    maps, notes = None, ImageNotes()
    if paths is not None:
        maps = [
            _map_in(path, condition, image.size, notes)
            for path, image in zip(paths, shown.pictures, strict=True)
        ]
    return PairSource(
        pictures=shown.pictures,
        captions=shown.captions,
        maps=maps,
        draw=None if maps is not None else condition.from_image,
        identity=condition.name if maps is None else "brought",
        notes=(*shown.notes, *(f"conditions: {line}" for line in notes.lines())),
    )


def _provided(conditions: Path | None, shown: CaptionedImages) -> list[Path | ImageArray] | None:
    """Return the files of user-provided conditions; None if there are none."""
    images = shown.paths
    chosen: Sequence[Path | ImageArray | None]
    if conditions is not None:
        twice = [name for name, count in Counter(one.stem for one in images).items() if count > 1]
        if twice:
            raise BadInput(
                f"several images have the same name ({few(twice)}), by which "
                f"conditions in {conditions} are found.",
                f"Name each one's condition in the column {CONDITION} of {METADATA}.",
            )
        found = {path.stem: path for path in sorted(conditions.glob("*")) if path.is_file()}
        chosen = [found.get(path.stem) for path in images]
        where = str(conditions)
    else:
        if not any(shown.conditions):
            return None
        chosen = list(shown.conditions)
        where = f"the column {CONDITION} of the table"
    missing = [
        path.name for path, condition in zip(images, chosen, strict=True) if condition is None
    ]
    if missing:
        raise BadInput(
            f"{len(missing)} of {len(images)} images have no condition in {where}: {few(missing)}.",
            "Provide one with the same name for each, or leave --conditions out to compute them.",
        )
    return [condition for condition in chosen if condition is not None]


def _map_in(
    path: Path | ImageArray, condition: Condition, size: tuple[int, int], notes: ImageNotes
) -> Image.Image:
    """Load a finished condition with the aspect ratio of its image; a single color is allowed."""
    source = ImageArray(str(path)) if isinstance(path, Path) else path
    opened = source.decode(depth=condition.name == "depth")
    notes.add(opened.notes)
    found = opened.image
    pixels = np.asarray(found)
    if not is_empty(pixels[None])[0]:
        condition.check_map(pixels, source.name)
    if abs(found.width * size[1] - found.height * size[0]) > _SLANT * size[0] * size[1]:
        raise BadInput(
            f"{source.name} has {found.width} x {found.height} pixels, its image {size[0]} x "
            f"{size[1]}.",
            "Bring conditions of the shape of their images.",
        )
    return found


def require_sampled(pairs: StoredPairs, condition: Condition, monitor: Monitor) -> None:
    """Report how many conditions have a single color.

    Raises:
        BadInput: all of them do.
    """
    empty, total = pairs.empty_maps(), len(pairs)
    if empty == total:
        raise BadInput(
            f"all {total:,} {condition.name} conditions are empty, each of one color.",
            "Bring images in which there is something to follow, or another --condition.",
        )
    if empty:
        monitor.note(
            f"{empty:,} of {total:,} {condition.name} conditions are empty; they train nothing"
        )
