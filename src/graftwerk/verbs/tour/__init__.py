"""`graft tour`: every verb on shipped data, written as one page to look at.

A chapter is a function that runs verbs and returns what its template shows. Add one by writing
`chapter(folder, request, monitor)` in a file of its own, a template beside it, and a line below.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import __version__, files, reports, requests
from ...contracts import Monitor
from ...errors import BadInput
from . import adapt, conditions, control, guiding, inside, pictures, search_and_ask, style

TEMPLATES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Chapter:
    """A line of the tour.

    Attributes:
        title: heading on the page.
        template: file of this folder that shows what `build` returns.
        build: runs verbs; gets the tour's folder, the request and the monitor.
    """

    title: str
    template: str
    build: Callable[[Path, requests.Tour, Monitor], dict[str, Any]]


CHAPTERS: tuple[Chapter, ...] = (
    Chapter("Search and ask", "search_and_ask.html.jinja", search_and_ask.chapter),
    Chapter("A world of pictures", "pictures.html.jinja", pictures.chapter),
    Chapter("Conditions", "conditions.html.jinja", conditions.chapter),
    Chapter("Control", "control.html.jinja", control.chapter),
    Chapter("Guide by gradients", "guiding.html.jinja", guiding.chapter),
    Chapter("Adapt", "adapt.html.jinja", adapt.chapter),
    Chapter("Teach a style", "style.html.jinja", style.chapter),
    Chapter("Look inside", "inside.html.jinja", inside.chapter),
)


def run(request: requests.Tour, monitor: Monitor) -> reports.TourResult:
    """Run every chapter and write `index.html`.

    Raises:
        BadInput: the folder holds something that the tour did not write.
        NoRoom: the folder cannot be written.
    """
    started = time.perf_counter()
    page = request.out / "index.html"
    if request.out.exists() and not request.out.is_dir():
        raise BadInput(f"--out {str(request.out)!r} is a file.", "Name a folder.")
    if request.out.is_dir() and any(request.out.iterdir()) and not page.is_file():
        raise BadInput(
            f"--out {str(request.out)!r} holds other files.", "Name an empty or a new folder."
        )
    chapters = []
    for chapter in CHAPTERS:
        monitor.start(chapter.title)
        chapters.append((chapter, chapter.build(request.out, request, monitor)))
    seconds = time.perf_counter() - started
    files.write_text(page, _render(chapters, seconds))
    return reports.TourResult(
        page=str(page), chapters=[chapter.title for chapter in CHAPTERS], seconds=seconds
    )


def _render(chapters: list[tuple[Chapter, dict[str, Any]]], seconds: float) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = [
        (chapter.title, environment.get_template(chapter.template).render(content))
        for chapter, content in chapters
    ]
    template = environment.get_template("page.html.jinja")
    return template.render(chapters=shown, seconds=seconds, version=__version__)
