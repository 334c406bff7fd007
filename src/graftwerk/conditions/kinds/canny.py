"""Canny edge detection (1986), step by step.

Gray image, Gaussian with replicated borders, gradient, non-maximum suppression, double threshold,
hysteresis. All arithmetic is in float64; gradients are rounded to a millionth of a gray level, so
that equal gradients stay equal whatever the order of additions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Num, UInt8
from PIL import Image

from ...data.images import image_html
from ...errors import BadInput
from ...metrics.plots import Tile, tile_sheet
from ..base import Condition, ImageBatch, SceneMaps
from ..fidelity import drawing_problem, each, edge_f1, white_on_black

Unit = Literal["fraction", "absolute", "auto"]
Images = Num[np.ndarray, "n h w"] | Num[np.ndarray, "n h w 3"]
_GREY = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
_BAND_PIXELS = 2**19  # some ten arrays of floats of so many are held at once
_DECIMALS = 6
_TAN_22_5 = 2**0.5 - 1  # directions are distinguished at 22.5 degrees and what mirrors it
_AUTO_LOW = 0.4  # of the high threshold
_BINS = 256


@dataclass(frozen=True, slots=True)
class CannySettings:
    """Parameters of the edge detector.

    Attributes:
        sigma: of the Gaussian, in pixels, above 0.
        kernel: side of the Gaussian kernel, odd.
        unit: fractions of the image's largest gradient; absolute magnitudes of Sobel's kernels (0
            to 1442); or automatic: the high threshold splits the heights of all ridges by Otsu's
            method, the low one is 0.4 of it.
        low: threshold for pixels that continue an edge.
        high: threshold for pixels that start one.
    """

    sigma: float = 1.4
    kernel: int = 5
    unit: Unit = "fraction"
    low: float = 0.1
    high: float = 0.3

    def __post_init__(self) -> None:
        """Refuse invalid settings."""
        if not (0 < self.sigma < np.inf):
            raise BadInput(
                f"a Gaussian of sigma {self.sigma} blurs nothing.",
                "Give a number above 0, for example 1.4; kernel 1 leaves the image as it is.",
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise BadInput(
                f"a Gaussian {self.kernel} pixels wide has no middle pixel.",
                "Give an odd number, for example 5.",
            )
        largest = 1.0 if self.unit == "fraction" else np.inf
        if self.unit != "auto" and not (0 <= self.low <= self.high <= largest):
            raise BadInput(
                f"thresholds {self.low:g} and {self.high:g} are not 0 <= low <= high"
                f"{' <= 1' if self.unit == 'fraction' else ''}.",
                "Give low and high, for example 0.1,0.3 of the largest slope, or 100,200.",
            )


@dataclass(frozen=True, slots=True, eq=False)
class CannyStages:
    """Results of each step for several images, or for a single one.

    Attributes:
        grey: 0 to 255.
        blurred: 0 to 255.
        slope: magnitude of Sobel's gradient.
        direction: of the gradient in radians, 0 to the right, pi / 2 down.
        thinned: gradient magnitude at local maxima across the edge, else 0.
        levels: 0 nothing, 1 weak, 2 strong.
        edges: strong pixels, and weak ones connected to them.
        low: threshold of each image, in the unit of `slope`.
        high: threshold of each image, in the unit of `slope`.
    """

    grey: Float64[np.ndarray, "*n h w"]
    blurred: Float64[np.ndarray, "*n h w"]
    slope: Float64[np.ndarray, "*n h w"]
    direction: Float64[np.ndarray, "*n h w"]
    thinned: Float64[np.ndarray, "*n h w"]
    levels: UInt8[np.ndarray, "*n h w"]
    edges: Bool[np.ndarray, "*n h w"]
    low: Float64[np.ndarray, "*n"]
    high: Float64[np.ndarray, "*n"]

    def single(self, number: int = 0) -> "CannyStages":
        """Return the stages of one image as arrays [h w]."""
        return CannyStages(
            **{one.name: getattr(self, one.name)[number, ...] for one in fields(self)}
        )

    @property
    def image(self) -> Image.Image:
        """Return the edges of a single image, white on black, as a ControlNet expects them."""
        return image_of(self.edges)

    def sheet(self) -> Image.Image:
        """Return a labeled contact sheet of the steps of a single image."""
        return tile_sheet(stage_tiles(self), 4)

    def __repr__(self) -> str:
        height, width = self.edges.shape[-2:]
        many = "" if self.edges.ndim == 2 else f"{len(self.edges)} of "
        return f"CannyStages({many}{width} x {height} pixels, {self.edges.mean():.1%} edges)"

    def _repr_html_(self) -> str:
        return image_html(self.sheet(), repr(self))


def settings_of(sigma: float, kernel: int, low: float, high: float, auto: bool) -> CannySettings:
    """Return settings whose thresholds are fractions of the largest gradient if at most 1."""
    unit: Unit = "auto" if auto else "fraction" if high <= 1 else "absolute"
    return CannySettings(sigma, kernel, unit, low, high)


def canny(images: Images, settings: CannySettings = CannySettings()) -> CannyStages:
    """Detect edges and return the result of each step.

    Args:
        images: gray or color; integers from 0 to 255 or floats from 0 to 1.
        settings: of the detector.

    Raises:
        BadInput: floats outside 0 to 1, or not finite.
    """
    grey = grey_of(images)
    blurred = blur(grey, settings.sigma, settings.kernel)
    across, down = gradient(blurred)
    slope = np.round(np.hypot(across, down), _DECIMALS)
    thinned = thin(slope, across, down)
    low, high = _thresholds([one[one > 0] for one in thinned], settings)
    there = thinned > 0
    weak = there & (thinned >= low[:, None, None])
    strong = there & (thinned >= high[:, None, None])
    return CannyStages(
        grey=grey,
        blurred=blurred,
        slope=slope,
        direction=np.arctan2(down, across),
        thinned=thinned,
        levels=weak.astype(np.uint8) + strong,
        edges=follow(weak, strong),
        low=low,
        high=high,
    )


def edge_map(
    images: Images, settings: CannySettings = CannySettings()
) -> Bool[np.ndarray, "n h w"]:
    """Return only the edges; see `find_edges`."""
    return find_edges(images, settings)[0]


def find_edges(
    images: Images, settings: CannySettings
) -> tuple[Bool[np.ndarray, "n h w"], Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return edges and both thresholds of `canny`, in bands of rows to save memory.

    Raises:
        BadInput: floats outside 0 to 1, or not finite.
    """
    count, height, width = images.shape[:3]
    places, heights = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for rows, band, _, _ in _bands(images, settings):  # ridges alone are kept, which are few
        image, row, column = np.nonzero(band)
        places.append((image * height + row + rows.start) * width + column)
        heights.append(band[image, row, column])
    order = np.argsort(np.concatenate(places), kind="stable")
    place, value = np.concatenate(places)[order], np.concatenate(heights)[order]
    del places, heights, order
    limits = np.searchsorted(place, np.arange(1, count) * (height * width))
    low, high = _thresholds(np.split(value, limits), settings)
    image = np.repeat(np.arange(count), np.diff([0, *limits, len(place)]) if count else 0)
    weak, strong = (np.zeros((count, height, width), dtype=np.bool_) for _ in range(2))
    weak.reshape(-1)[place[value >= low[image]]] = True
    strong.reshape(-1)[place[value >= np.maximum(low, high)[image]]] = True
    del place, value, image
    return follow(weak, strong), low, high


def find_directions(
    image: Num[np.ndarray, "h w"] | Num[np.ndarray, "h w 3"],
    edges: Bool[np.ndarray, "h w"],
    settings: CannySettings,
) -> Float64[np.ndarray, " e"]:
    """The direction across the edge of each pixel that is one, row by row; see `CannyStages`."""
    found = [
        np.arctan2(down[0], across[0])[edges[rows]]
        for rows, _, across, down in _bands(image[None], settings)
    ]
    return np.concatenate(found) if found else np.empty(0)


def _bands(
    images: Images, settings: CannySettings
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """For a few rows at a time: which, and there the thinned slope and both of its components."""
    count, height, width = images.shape[:3]
    beside = settings.kernel // 2 + 2  # rows that a pixel depends on: blur, Sobel, neighbor
    size = max(1, _BAND_PIXELS // max(1, count * width))
    for top in range(0, height, size):
        first, bottom = max(0, top - beside), min(height, top + size)
        blurred = blur(grey_of(images[:, first : bottom + beside]), settings.sigma, settings.kernel)
        across, down = gradient(blurred)
        band = thin(np.round(np.hypot(across, down), _DECIMALS), across, down)
        inside = slice(top - first, bottom - first)
        yield slice(top, bottom), band[:, inside], across[:, inside], down[:, inside]


def grey_of(images: Images) -> Float64[np.ndarray, "n h w"]:
    """Return gray levels from 0 to 255.

    Raises:
        BadInput: floats outside 0 to 1, or not finite.
    """
    values = images.astype(np.float64)
    if not np.issubdtype(images.dtype, np.integer):
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise BadInput(
                "an image of floats has values outside 0 to 1.",
                "Scale it to 0 to 1, or give whole numbers from 0 to 255.",
            )
        values = values * 255
    return values @ np.array(_GREY) if values.ndim == 4 else values


def blur(
    grey: Float64[np.ndarray, "n h w"], sigma: float, kernel: int
) -> Float64[np.ndarray, "n h w"]:
    """Apply a normalized Gaussian kernel of `kernel` x `kernel` pixels with replicated borders."""
    from scipy.ndimage import correlate1d

    offsets = np.arange(kernel) - kernel // 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    down = correlate1d(grey, weights, axis=1, mode="nearest")
    blurred: Float64[np.ndarray, "n h w"] = correlate1d(down, weights, axis=2, mode="nearest")
    return blurred


def gradient(
    grey: Float64[np.ndarray, "n h w"],
) -> tuple[Float64[np.ndarray, "n h w"], Float64[np.ndarray, "n h w"]]:
    """Return Sobel's gradient to the right and downwards, with replicated borders."""
    from scipy.ndimage import correlate1d

    def one(axis: int, other: int) -> Float64[np.ndarray, "n h w"]:
        difference = correlate1d(grey, [-1.0, 0.0, 1.0], axis=axis, mode="nearest")
        found: Float64[np.ndarray, "n h w"] = correlate1d(
            difference, [1.0, 2.0, 1.0], axis=other, mode="nearest"
        )
        return found

    return one(2, 1), one(1, 2)


def thin(
    slope: Float64[np.ndarray, "n h w"],
    across: Float64[np.ndarray, "n h w"],
    down: Float64[np.ndarray, "n h w"],
) -> Float64[np.ndarray, "n h w"]:
    """Suppress gradients that are not maximal along one of four directions.

    Of two equal neighbors, the left or upper one is kept; outside the image the gradient is 0.
    """
    _, height, width = slope.shape
    padded = np.pad(slope, ((0, 0), (1, 1), (1, 1)))

    def shifted(rows: int, columns: int) -> Float64[np.ndarray, "n h w"]:
        return padded[:, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    flat = np.abs(down) < _TAN_22_5 * np.abs(across)
    steep = np.abs(across) < _TAN_22_5 * np.abs(down)
    falling = across * down > 0  # to the right and down, or to the left and up
    sector = np.where(flat, 0, np.where(steep, 1, np.where(falling, 2, 3)))
    retained = np.zeros(slope.shape, dtype=np.bool_)
    for number, (rows, columns) in enumerate(((0, 1), (1, 0), (1, 1), (1, -1))):
        largest = (slope > shifted(-rows, -columns)) & (slope >= shifted(rows, columns))
        retained |= (sector == number) & largest
    return np.where(retained, slope, 0.0)


def _thresholds(
    ridges: Sequence[np.ndarray], settings: CannySettings
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    count = len(ridges)
    if settings.unit == "absolute":
        return np.full(count, settings.low), np.full(count, settings.high)
    if settings.unit == "fraction":
        largest = np.array([one.max(initial=0.0) for one in ridges]).reshape(count)
        return settings.low * largest, settings.high * largest
    high = np.array([otsu(one) for one in ridges], dtype=np.float64).reshape(count)
    return _AUTO_LOW * high, high


def otsu(values: Float64[np.ndarray, " n"]) -> float:
    """Return the threshold that maximizes the between-class variance (Otsu 1979).

    Computed on 256 bins; 0 if there are no values.
    """
    if len(values) == 0 or values.min() == values.max():
        return float(values.min()) if len(values) else 0.0
    counts, limits = np.histogram(values, bins=_BINS)
    middles = (limits[:-1] + limits[1:]) / 2
    below, total = np.cumsum(counts)[:-1], counts.sum()
    mass = np.cumsum(counts * middles)
    means = mass[:-1] / np.maximum(below, 1)
    above = (mass[-1] - mass[:-1]) / np.maximum(total - below, 1)
    between = below * (total - below) * (above - means) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(limits[1 + best].mean())  # the middle of a gap


def follow(
    weak: Bool[np.ndarray, "n h w"], strong: Bool[np.ndarray, "n h w"]
) -> Bool[np.ndarray, "n h w"]:
    """Return weak pixels connected to a strong one (8-neighbourhood) within the same image."""
    from scipy.ndimage import binary_propagation  # numbering the parts takes four times the memory

    joined = np.zeros((3, 3, 3), dtype=np.bool_)
    joined[1] = True
    edges: Bool[np.ndarray, "n h w"] = binary_propagation(strong, structure=joined, mask=weak)
    return edges


def image_of(edges: Bool[np.ndarray, "h w"]) -> Image.Image:
    """White on black, by way of gray, which takes a third of the memory."""
    return Image.fromarray(edges.astype(np.uint8) * np.uint8(255)).convert("RGB")


def stage_tiles(stages: CannyStages) -> dict[str, Tile]:
    """Return the seven steps on a single image, as images with their names."""
    slope, thinned = stages.slope, stages.thinned
    largest = max(float(slope.max()), 1e-12)
    levels = np.array([0, 110, 255], dtype=np.uint8)[stages.levels]
    return {
        "1 grey": _grey(stages.grey),
        "2 blurred": _grey(stages.blurred),
        "3 slope": _grey(255 * np.sqrt(slope / largest)),
        "4 direction": _directions(stages.direction, slope / largest),
        "5 thinned": _grey(255 * np.sqrt(thinned / largest)),
        "6 weak and strong": _grey(levels.astype(np.float64)),
        "7 edges": _grey(255.0 * stages.edges),
    }


def _grey(values: Float64[np.ndarray, "h w"]) -> Tile:
    grey = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _directions(angles: Float64[np.ndarray, "h w"], strength: Float64[np.ndarray, "h w"]) -> Tile:
    hue = np.rint((angles / (2 * np.pi) % 1) * 255)
    value = np.rint(255 * np.sqrt(np.clip(strength, 0, 1)))
    bands = np.stack([hue, np.full_like(hue, 255), value], axis=-1).astype(np.uint8)
    return np.asarray(Image.fromarray(bands, mode="HSV").convert("RGB"))


def _read(images: ImageBatch) -> ImageBatch:
    return white_on_black(edge_map(images))


def _draw(maps: SceneMaps) -> ImageBatch:
    return _read(maps.pictures)


CANNY = Condition(
    "canny",
    "Canny's edges of the image",
    "Canny's method",
    "edge F1",
    higher_is_better=True,
    draw=_draw,
    read=_read,
    read_scenes=_read,
    compare=each(edge_f1),
    problem=drawing_problem,
)


_SCALES = (2.0, 4.0)  # sigmas of the Gaussians in pixels
_USUAL = 8.0  # slope in units of CIELAB at which an edge is half as strong as can be
_RELATIVE = 0.5  # how much of that depends on the image
_SHARE = 90  # percent of ridges below the image's own such slope
_LOW = 0.7  # of the high threshold, in hysteresis
_LEVELS = 99
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def edge_strength(image: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w"]:
    """Return the highest of 99 high thresholds (0.01 to 0.99) at which a pixel is an edge, else 0.

    Gradients are those of CIELAB colors (the main axis of Di Zenzo's tensor, 1986), averaged over
    two scales; thinning and hysteresis are as in `canny`. A gradient s counts as s / (s + k),
    where k is half a typical one and half the image's own.
    """
    tensor = _tensor(lab_of(image))
    across_across, across_down, down_down = tensor
    deviation = np.hypot(across_across - down_down, 2 * across_down)
    slope = np.sqrt((across_across + down_down + deviation) / 2)
    angle = np.arctan2(2 * across_down, across_across - down_down) / 2
    thinned = thin(np.round(slope, 6)[None], np.cos(angle)[None], np.sin(angle)[None])
    ridges = thinned[thinned > 0]
    if len(ridges) == 0:
        nothing: np.ndarray = thinned[0]
        return nothing
    half = (1 - _RELATIVE) * _USUAL + _RELATIVE * float(np.percentile(ridges, _SHARE))
    return followed(thinned / (thinned + half), _LOW)


def plain_strength(image: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w"]:
    """Return the same for the gray image at one scale, as in the defaults of `canny`."""
    thinned = canny(image[None], CannySettings()).thinned
    return followed(thinned / max(float(thinned.max()), 1e-12), 1 / 3)


def followed(ridges: Float64[np.ndarray, "1 h w"], low: float) -> Float64[np.ndarray, "h w"]:
    """Return the highest threshold at which a pixel is an edge, by hysteresis."""
    strength = np.zeros(ridges.shape[1:])
    for level in range(1, _LEVELS + 1):
        high = level / 100
        strength[follow(ridges >= low * high, ridges >= high)[0]] = high
    return strength


def _tensor(channels: Float64[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "3 h w"]:
    from scipy.ndimage import gaussian_filter

    tensor = np.zeros((3, *channels.shape[:2]))
    for sigma in _SCALES:
        for location in range(3):
            channel = channels[..., location]
            across = sigma * gaussian_filter(channel, sigma, order=(0, 1), mode="nearest")
            down = sigma * gaussian_filter(channel, sigma, order=(1, 0), mode="nearest")
            tensor += np.stack([across * across, across * down, down * down])
    return tensor / len(_SCALES)


def lab_of(image: UInt8[np.ndarray, "h w 3"]) -> Float64[np.ndarray, "h w 3"]:
    """Convert sRGB to CIELAB, white point D65."""
    light = image / 255
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    xyz = light @ _TO_XYZ.T / _WHITE
    cube = (6 / 29) ** 3
    bent = np.where(xyz > cube, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = bent[..., 0], bent[..., 1], bent[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
