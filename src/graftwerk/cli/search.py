"""Format search results for the terminal."""

import sys

from ..results import Familiarity
from ..search.results import Hit, SearchResult
from ..text_safety import printable
from .format import bold, dim, paint, place

_COPIES = 3  # of a hit that are named


def search_lines(report: SearchResult) -> list[str]:
    """Show the hits, best first, and how many items were searched."""
    lines = []
    for number, hit in enumerate(report.hits, 1):
        lines += [*_hit_lines(number, hit), ""]
    lines.append(
        f"{len(report.hits)} of {_counted(report)}, {report.mode}, {report.seconds * 1000:.0f} ms"
    )
    if report.sheet is not None:
        lines.append(f"images side by side -> {printable(report.sheet)}")
    if report.familiarity is not None and report.familiarity.unfamiliar:
        lines.append(
            "the image asked with is unlike all that the encoder was trained on "
            f"({far(report.familiarity)}): its hits mean little"
        )
    return lines


def far(familiarity: Familiarity) -> str:
    """Describe how far out of distribution an image is."""
    return (
        f"{familiarity.distance:.1f} times the distance that {familiarity.false_alarm_rate:.0%} of "
        "familiar images exceed"
    )


def _counted(report: SearchResult) -> str:
    passages = report.searched - report.pictures
    if not report.pictures:
        return f"{passages} passages"
    if not passages:
        return f"{report.pictures} images"
    return f"{report.searched} ({passages} passages, {report.pictures} images)"


def _marked(hit: Hit) -> str:
    first = hit.marks[0][0] if hit.marks else 0
    begin = max(0, first - 100) if len(hit.text) > 300 else 0
    out, position = [], begin
    for start, end in hit.marks:
        if start >= position and end <= begin + 300:
            out += [printable(hit.text[position:start]), _mark(printable(hit.text[start:end]))]
            position = end
    out.append(printable(hit.text[position : begin + 300]))
    body = " ".join("".join(out).replace("\\n", " ").split())
    return ("…" if begin else "") + body + ("…" if begin + 300 < len(hit.text) else "")


def _mark(word: str) -> str:
    return paint(word, "1;33") if sys.stdout.isatty() else f"[{word}]"


def _hit_lines(number: int, hit: Hit) -> list[str]:
    ranks = [f"score {hit.score:.4f}"]
    if hit.kind == "image":
        ranks.insert(0, "image")
    if hit.vector_rank is not None:
        ranks.append(f"semantic #{hit.vector_rank}")
    if hit.text_rank is not None:
        ranks.append(f"keyword #{hit.text_rank}")
    if hit.similarity is not None:
        ranks.append(f"cosine {hit.similarity:.3f}")
    heading = f"  {printable(hit.heading)}" if hit.heading else ""
    lines = [f"{number}. {bold(place(hit.path, hit.line, hit.page))}{heading}"]
    lines.append(f"   {dim(', '.join(ranks))}")
    if hit.kind == "text":
        lines.append(f"   {_marked(hit)}")
    return [*lines, *copy_lines(hit)]


def copy_lines(hit: Hit) -> list[str]:
    """Where else the same content stands."""
    if not hit.copies:
        return []
    shown = [place(copy.path, copy.line, copy.page) for copy in hit.copies[:_COPIES]]
    more = hit.copy_count - len(shown)
    return [f"   the same in {', '.join(shown)}" + (f" and {more:,} more" if more else "")]
