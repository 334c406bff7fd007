"""`graft tour`: run the commands on shipped data and present the results on one page.

A chapter is a function that runs commands and returns what its template shows. To add one, write
`chapter(folder, request, monitor)` in a module of this folder, a template, and an entry in the
table below. For long runs, the short tour shows a recorded result; see `recorded.py`.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, files, folders
from ..errors import BadFile
from ..requests.models import Tour
from ..results import TourResult
from ..types import Monitor
from . import images, recorded, steering, text

if TYPE_CHECKING:
    from jinja2 import Environment


TEMPLATES = Path(__file__).parent
KIND, PAGE, PARTS = "tour", "index.html", ".chapters"
_SHOWN_FIRST = ("compare", "prompts", "control")  # recorded results at the top of the page
MEGABYTES = {False: 10, True: 280}  # on the disk, of the short tour and of the full one
# by which a tour is known that is older than markers
_TITLE, _HEAD = b"<title>Graftwerk: the tour</title>", 2_000
_LOCATIONS = {
    "handbook-index", "pictures", "conditions", "control", "guiding", "topics.csv", "compare",
    "style", "inside",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chapter:
    """An entry of the tour.

    Attributes:
        title: heading on the page.
        template: file of this folder that shows what `build` returns.
        build: runs commands; gets the tour's folder, the request and the monitor.
        about: one line on what the chapter shows, for the list at the top of the page.
        seconds: on one free CPU core, of the short tour and of the full one; 0 if nothing runs.
    """

    title: str
    template: str
    build: Callable[[Path, Tour, Monitor], dict[str, Any]]
    about: str = ""
    seconds: tuple[int, int] = (0, 0)

    def cost(self, request: Tour) -> int:
        """Seconds to expect."""
        return self.seconds[1 if request.full else 0]


@dataclass(frozen=True, slots=True)
class _Part:
    """What the page shows of a chapter; None if it has not been run yet."""

    chapter: Chapter
    html: str | None = None
    seconds: float = 0.0


CHAPTERS: tuple[Chapter, ...] = (
    Chapter(
        "Search and ask",
        "search.html.jinja",
        text.search_and_ask,
        "Index a folder, search it by meaning, get answers that quote it, or none.",
        (9, 10),
    ),
    Chapter(
        "Adapt to your labels",
        "adapt.html.jinja",
        text.adapt,
        "A linear head on a frozen encoder, beside LoRA and full fine-tuning.",
        (2, 25),
    ),
    Chapter(
        "Generate, search and classify images",
        "images.html.jinja",
        images.generate_and_search,
        "Images from prompts, search by words or by an image, labels without training.",
        (14, 40),
    ),
    Chapter(
        "Guide by gradients",
        "guide.html.jinja",
        steering.guide_by_gradients,
        "A classifier steers the diffusion model, and why the direct method fails.",
        (10, 40),
    ),
    Chapter(
        "Conditions",
        "conditions.html.jinja",
        images.conditions,
        "Edges, lines, depth, key points: made from an image, or exactly from a scene.",
        (3, 3),
    ),
    Chapter(
        "Control what is generated",
        "control.html.jinja",
        steering.control,
        "A small branch makes the frozen model follow a condition.",
        (6, 130),
    ),
    Chapter(
        "Fine-tune a style",
        "style.html.jinja",
        steering.style,
        "A LoRA learns fog from 48 images.",
        (0, 40),
    ),
    Chapter(
        "Look inside",
        "inside.html.jinja",
        images.look_inside,
        "What can be read linearly from inside the model, and whether the model uses it.",
        (0, 20),
    ),
)


def run_tour(request: Tour, monitor: Monitor) -> TourResult:
    """Run every chapter; `index.html` is written at the start and again after each chapter.

    An interrupted tour continues with the next chapter.
    """
    page, parts = request.out / PAGE, request.out / PARTS
    folders.claim(request.out, KIND, verify=_is_former)
    shown = [_retained(chapter, request) for chapter in CHAPTERS]
    _announce(shown, request, monitor)
    front = {name: recorded.load(name, request.out) for name in _SHOWN_FIRST}
    files.write_text(page, _render(shown, front, request))
    for number, chapter in enumerate(CHAPTERS):
        if shown[number].html is None:
            monitor.start(chapter.title)
            shown[number] = _build(chapter, request, monitor)
            files.write_text(page, _render(shown, front, request))
    folders.remove(parts, owner=request.out)  # the next tour begins again
    took = {part.chapter.title: round(part.seconds, 1) for part in shown}
    return TourResult(
        page=str(page),
        chapters=list(took),
        seconds=round(sum(part.seconds for part in shown), 1),
        chapter_seconds=took,
    )


def _announce(shown: list[_Part], request: Tour, monitor: Monitor) -> None:
    rest = [part.chapter for part in shown if part.html is None]
    if len(rest) < len(shown):
        done = len(shown) - len(rest)
        monitor.note(f"going on with a tour that was stopped: {done} of {len(shown)} chapters done")
    spoken = _duration(sum(chapter.cost(request) for chapter in rest))
    monitor.note(f"about {spoken} on a free core, {MEGABYTES[request.full]} MB in {request.out}")
    if not request.full:
        whole = _duration(sum(chapter.seconds[1] for chapter in CHAPTERS))
        monitor.note(
            "results of longer runs are shown as recorded, with their commands; "
            f"graft tour --full runs everything here: about {whole}, {MEGABYTES[True]} MB"
        )
    monitor.note(f"{request.out / PAGE} can be opened now; it grows with every chapter")


def _duration(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _retained(chapter: Chapter, request: Tour) -> _Part:
    """Load the result of a chapter that an interrupted tour has finished."""
    with suppress(BadFile, KeyError, TypeError, ValueError):
        stored = files.read_json(_store(chapter, request))
        if stored["key"] == _key(request):
            return _Part(chapter, str(stored["html"]), float(stored["seconds"]))
    return _Part(chapter)


def _build(chapter: Chapter, request: Tour, monitor: Monitor) -> _Part:
    began = time.perf_counter()
    content = chapter.build(request.out, request, monitor)
    html = _environment(request.out).get_template(chapter.template).render(content)
    part = _Part(chapter, html, time.perf_counter() - began)
    stored = {"key": _key(request), "html": part.html, "seconds": part.seconds}
    files.write_json(_store(chapter, request), stored)
    return part


def _store(chapter: Chapter, request: Tour) -> Path:
    return request.out / PARTS / f"{chapter.template}.json"


def _key(request: Tour) -> list[Any]:
    return [__version__, request.model_dump(mode="json"), str(request.out.absolute())]


def _is_former(folder: Path) -> bool:
    """Whether an unmarked folder contains only a tour, judging by its page."""
    page = folder / PAGE
    if not set(folders.entries(folder)) <= {PAGE, *_LOCATIONS} or not page.is_file():
        return False
    with page.open("rb") as file:
        return _TITLE in file.read(_HEAD)


def _environment(folder: Path) -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    root = folder.absolute()
    environment.globals["relative"] = lambda path: (
        Path(path).absolute().relative_to(root).as_posix()
    )
    return environment


def _render(shown: list[_Part], front: dict[str, Any], request: Tour) -> str:
    template = _environment(request.out).get_template("page.html.jinja")
    return template.render(
        parts=shown,
        front=front,
        request=request,
        missing=sum(part.html is None for part in shown),
        seconds=sum(part.seconds for part in shown),
        version=__version__,
    )
