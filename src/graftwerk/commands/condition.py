"""`graft condition`: one condition of a picture or of a scene.

`graft eval edges`: Canny's edges against boundaries that people drew.

`graft condition list`: the kinds of condition.
"""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from ..blocks.sampling import sample_scene
from ..conditions.base import Condition, maps_of_scene
from ..conditions.canny import CannySettings, canny, find_edges
from ..conditions.edge_strength import edge_strength, plain_strength
from ..conditions.estimators import ESTIMATED, load_estimator
from ..conditions.fidelity import white_on_black
from ..conditions.kinds import CONDITIONS, condition_named
from ..conditions.perceived import PERCEPTION
from ..conditions.results import ConditionKind, ConditionKinds, ConditionResult, EdgeEvaluation
from ..conditions.scribble import scribble_of_drawing
from ..conditions.sheet import sheet_of, stage_tiles
from ..data.edge_benchmark import BoundaryData
from ..data.images import read_image, write_image
from ..errors import BadFile, BadInput, UnknownName
from ..metrics.edges import TOLERANCE, count_pairs, quality_of
from ..models.encoders import load_encoder
from ..models.image_encoder import encode_and_compare
from ..requests.base import DEFAULT_PICTURE_ENCODER
from ..requests.condition import ConditionList, EvalEdges, MakeCondition
from ..types import Monitor

Picture = UInt8[np.ndarray, "h w 3"]
_ALL = "all"
_COLUMNS = {_ALL: 3, "canny": 4}


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """What was made, and by what."""

    picture: Picture
    by: str
    thresholds: list[float] | None = None
    sheet: dict[str, Picture] | None = None


def run_condition(request: MakeCondition, monitor: Monitor) -> ConditionResult:
    """Make the condition and write it.

    Raises:
        BadInput: options that contradict each other, or an image that is no map of its kind.
        BadFile: the image or the estimator cannot be read, or the file to write is no PNG.
        NoRoom: the disk is full or cannot be written.
    """
    from PIL import Image

    begin = time.perf_counter()
    if request.kind not in {_ALL, *CONDITIONS}:
        raise UnknownName("condition", request.kind, (_ALL, *CONDITIONS))
    condition = None if request.kind == _ALL else condition_named(request.kind)
    settings = _checked(request)
    monitor.start(f"making {request.kind}")
    picture = None if request.image is None else np.asarray(read_image(request.image))
    if condition is None:
        made = _all(request, picture)
    elif request.scene is not None:
        scene = sample_scene(request.seed, request.scene)
        by = "Canny's method on the render" if condition.name == "canny" else "exact maps"
        made = _Made(condition.from_scene(scene, request.size), by)
    elif request.finished:
        made = _Made(_finished(request, condition, _there(picture)), "brought as it is")
    elif request.estimator is not None:
        estimate = load_estimator(condition.name, request.estimator, request.device)
        made = _Made(estimate.read(_there(picture)[None])[0], estimate.name)
    elif condition.name == "canny":
        made = _canny(_there(picture), settings, request.stages)
    else:
        made = _Made(condition.from_picture(_there(picture)), condition.read_by)
    unfamiliar = None
    if picture is not None and made.by == PERCEPTION:
        unfamiliar = _is_unfamiliar(picture, request.device)
        if unfamiliar:
            monitor.note(
                f"this picture is unlike the Blocks scenes that {PERCEPTION} knows; a model for "
                "photographs can be named with --estimator."
            )
    if not made.picture.any():
        monitor.note(f"this {request.kind} map is empty: there is nothing to follow in it")
    tiles = made.sheet
    shown = Image.fromarray(made.picture)
    write_image(request.out, shown if tiles is None else sheet_of(tiles, _COLUMNS[request.kind]))
    height, width = made.picture.shape[:2]
    return ConditionResult(
        kind=request.kind,
        made_by=made.by,
        out=str(request.out),
        width=width,
        height=height,
        drawn=float(made.picture.any(axis=-1).mean()),
        thresholds=made.thresholds,
        unfamiliar=unfamiliar,
        seconds=time.perf_counter() - begin,
    )


def _checked(request: MakeCondition) -> CannySettings:
    """See that the options go together, before any work."""
    if request.out.suffix.lower() != ".png" or request.out.is_dir():
        raise BadFile(f"{request.out} cannot be a PNG file.", "Name a file that ends in .png.")
    if (request.image is None) == (request.scene is None):
        given = "neither an image nor" if request.image is None else "both an image and"
        raise BadInput(
            f"{given} a scene was given.", "Name a picture, or a scene's number with --scene."
        )
    ways = {
        "--scene": request.scene is not None,
        "--finished": request.finished,
        "--estimator": request.estimator is not None,
        "--stages": request.stages,
    }
    named = [name for name, given in ways.items() if given]
    if len(named) > 1:
        raise BadInput(
            f"{' and '.join(named)} exclude each other.", "Leave all but one of them out."
        )
    if request.kind == _ALL and named not in ([], ["--scene"]):
        raise BadInput(f"{named[0]} is for one kind, not for all.", "Name the kind.")
    fields = MakeCondition.model_fields
    own = ("thresholds", "sigma", "kernel", "stages")
    changed = [f"--{name}" for name in own if getattr(request, name) != fields[name].default]
    read = request.scene is None and not request.finished and request.estimator is None
    if changed and not (request.kind == "canny" and read):
        raise BadInput(
            f"{changed[0]} belongs to Canny's edges of a picture.",
            f"Leave it out, or ask for: graft condition canny PICTURE {changed[0]} ...",
        )
    return _settings(request)


def _settings(request: MakeCondition) -> CannySettings:
    if request.thresholds == "auto":
        return CannySettings(request.sigma, request.kernel, "auto")
    try:
        low, high = (float(part) for part in request.thresholds.split(","))
    except ValueError:
        raise BadInput(
            f"--thresholds {request.thresholds!r} cannot be read.",
            "Write LOW,HIGH, for example 0.1,0.3 (of the largest slope) or 100,200; or auto.",
        ) from None
    return CannySettings(
        request.sigma, request.kernel, "fraction" if high <= 1 else "absolute", low, high
    )


def _there(picture: Picture | None) -> Picture:
    assert picture is not None  # noqa: S101  checked with the options
    return picture


def _finished(request: MakeCondition, condition: Condition, picture: Picture) -> Picture:
    if condition.name == "scribble":
        picture = scribble_of_drawing(picture)
    condition.check_map(picture, str(request.image))
    return picture


def _canny(picture: Picture, settings: CannySettings, with_sheet: bool) -> _Made:
    by = f"Canny, thresholds by {settings.unit}"
    if with_sheet:
        stages = canny(picture[None], settings)
        edges, low, high = stages.edges, stages.low, stages.high
        tiles = stage_tiles(picture, stages)
    else:
        edges, low, high = find_edges(picture[None], settings)
        tiles = None
    return _Made(white_on_black(edges)[0], by, [float(low[0]), float(high[0])], tiles)


def _all(request: MakeCondition, picture: Picture | None) -> _Made:
    """The picture and its eight conditions."""
    if request.scene is not None:
        maps = maps_of_scene(sample_scene(request.seed, request.scene), request.size)
        shown = maps.pictures[0]
        tiles = {name: one.draw(maps)[0] for name, one in CONDITIONS.items()}
        return _Made(shown, "exact maps", sheet={"picture": shown} | tiles)
    shown = _there(picture)
    tiles = {name: one.from_picture(shown) for name, one in CONDITIONS.items()}
    return _Made(shown, PERCEPTION, sheet={"picture": shown} | tiles)


def _is_unfamiliar(picture: Picture, device: str) -> bool:
    from PIL import Image

    encoder = load_encoder(DEFAULT_PICTURE_ENCODER, device=device)
    _, distances = encode_and_compare(encoder, [Image.fromarray(picture)])
    return distances is not None and bool(distances[0] > 1)


def run_condition_list(request: ConditionList, monitor: Monitor) -> ConditionKinds:  # noqa: ARG001
    """Read the table of conditions."""
    kinds = [
        ConditionKind(
            name=name,
            about=condition.about,
            read_by=condition.read_by,
            estimators=ESTIMATED.get(name, ""),
            measure=condition.measure,
            higher_is_better=condition.higher_is_better,
        )
        for name, condition in CONDITIONS.items()
    ]
    return ConditionKinds(kinds=kinds)


def run_eval_edges(request: EvalEdges, monitor: Monitor) -> EdgeEvaluation:
    """Find the edges of each picture at every threshold and pair them with each person's.

    Raises:
        BadInput: no picture with boundaries, or boundaries of another size or kind.
        BadFile: a file cannot be read.
        Cancelled: stopped by the monitor.
    """
    begin = time.perf_counter()
    data = BoundaryData(request.data)
    find = plain_strength if request.plain else edge_strength
    monitor.start("pairing edges with boundaries", len(data))
    counts, people = [], 0
    for picture, drawn in data:
        counts.append(count_pairs(find(picture), list(drawn)))
        people += len(drawn)
        monitor.advance()
    quality = quality_of(counts)
    return EdgeEvaluation(
        pictures=len(data),
        people=people,
        method="grey at one scale" if request.plain else "colour at two scales",
        ods=quality.ods,
        ois=quality.ois,
        ap=quality.ap,
        threshold=quality.threshold,
        precision=quality.precision,
        recall=quality.recall,
        tolerance=TOLERANCE,
        seconds=time.perf_counter() - begin,
    )
