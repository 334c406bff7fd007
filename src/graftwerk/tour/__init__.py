"""`graft tour`: every command on shipped data, written as one page to look at.

A chapter is a function that runs commands and returns what its template shows. Add one by writing
`chapter(folder, request, monitor)` in a file of its own, a template beside it, and a line below.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, files, folders, requests
from ..errors import BadFile
from ..results import TourResult
from ..types import Monitor
from . import compare, conditions, control, guide, images, probe, search, style

if TYPE_CHECKING:
    from jinja2 import Environment


TEMPLATES = Path(__file__).parent
KIND, PAGE, PARTS = "tour", "index.html", ".chapters"
# by which a tour is known that is older than markers
_TITLE, _HEAD = b"<title>Graftwerk: the tour</title>", 2_000
_PLACES = {
    "handbook-index", "pictures", "conditions", "control", "guiding", "topics.csv", "compare",
    "style", "inside",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chapter:
    """A line of the tour.

    Attributes:
        title: heading on the page.
        template: file of this folder that shows what `build` returns.
        build: runs commands; gets the tour's folder, the request and the monitor.
    """

    title: str
    template: str
    build: Callable[[Path, requests.Tour, Monitor], dict[str, Any]]


CHAPTERS: tuple[Chapter, ...] = (
    Chapter("Search and ask", "search.html.jinja", search.chapter),
    Chapter("A world of pictures", "images.html.jinja", images.chapter),
    Chapter("Conditions", "conditions.html.jinja", conditions.chapter),
    Chapter("Control", "control.html.jinja", control.chapter),
    Chapter("Guide by gradients", "guide.html.jinja", guide.chapter),
    Chapter("Adapt", "compare.html.jinja", compare.chapter),
    Chapter("Teach a style", "style.html.jinja", style.chapter),
    Chapter("Look inside", "probe.html.jinja", probe.chapter),
)


def run(request: requests.Tour, monitor: Monitor) -> TourResult:
    """Run every chapter and write `index.html`; one that was stopped goes on with the next chapter.

    Raises:
        BadFile: the folder holds something that the tour did not write.
        NoRoom: the folder cannot be written.
    """
    started = time.perf_counter()
    page, parts = request.out / PAGE, request.out / PARTS
    folders.claim(request.out, KIND, verify=_is_former)
    shown = []
    for chapter in CHAPTERS:
        monitor.start(chapter.title)
        shown.append((chapter.title, _part(chapter, request, monitor)))
    seconds = time.perf_counter() - started
    files.write_text(page, _render(shown, seconds))
    folders.remove(parts, owner=request.out)  # the next tour begins anew
    return TourResult(
        page=str(page), chapters=[chapter.title for chapter in CHAPTERS], seconds=seconds
    )


def _part(chapter: Chapter, request: requests.Tour, monitor: Monitor) -> str:
    """What the page shows of a chapter, kept until the page is whole."""
    path = request.out / PARTS / f"{chapter.template}.json"
    key = [__version__, request.model_dump(mode="json"), str(request.out.absolute())]
    with suppress(BadFile):
        kept = files.read_json(path)
        if isinstance(kept, dict) and kept.get("key") == key:
            return str(kept["html"])
    content = chapter.build(request.out, request, monitor)
    html = _environment().get_template(chapter.template).render(content)
    files.write_json(path, {"key": key, "html": html})
    return html


def _is_former(folder: Path) -> bool:
    """Whether an unmarked folder holds a tour and nothing else: its page says what it is."""
    page = folder / PAGE
    if not set(folders.entries(folder)) <= {PAGE, *_PLACES} or not page.is_file():
        return False
    with page.open("rb") as file:
        return _TITLE in file.read(_HEAD)


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _render(shown: list[tuple[str, str]], seconds: float) -> str:
    template = _environment().get_template("page.html.jinja")
    return template.render(chapters=shown, seconds=seconds, version=__version__)
