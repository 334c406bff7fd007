"""Format search results for the terminal."""

import sys
from typing import TYPE_CHECKING

from ..models.fetching import offer
from ..results import Familiarity
from ..text_safety import counted, listed, printable
from .format import bold, dim, paint, place, skipped_lines, table

if TYPE_CHECKING:
    from ..metrics.results import Across, AlignmentEvaluation, Half, Hubness
    from ..models.results import Classification, ClassifiedImage, TemperatureFit
    from ..search.results import Hit, IndexChange, SearchResult

_COPIES = 3  # of a hit that are named


def search_lines(report: "SearchResult") -> list[str]:
    """Show the hits, best first, and how many items were searched."""
    lines = []
    for number, hit in enumerate(report.hits, 1):
        lines += [*_hit_lines(number, hit), ""]
    lines.append(
        f"{len(report.hits)} of {items(report.searched, report.pictures)}, {report.mode}, "
        f"{report.seconds * 1000:.0f} ms"
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


def items(total: int, images: int) -> str:
    """Count what is in an index, of which some are images."""
    texts = total - images
    kinds = [counted(texts, "passage")] if texts or not images else []
    return " and ".join(kinds + ([counted(images, "image")] if images else []))


def _marked(hit: "Hit") -> str:
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


def _hit_lines(number: int, hit: "Hit") -> list[str]:
    ranks = [f"score {hit.score:z.4f}"]
    if hit.kind == "image":
        ranks.insert(0, "image")
    if hit.vector_rank is not None:
        ranks.append(f"semantic #{hit.vector_rank}")
    if hit.text_rank is not None:
        ranks.append(f"keyword #{hit.text_rank}")
    if hit.similarity is not None:
        ranks.append(f"cosine {hit.similarity:z.3f}")
    if hit.relevance is not None:
        ranks.append(f"answers {hit.relevance:.2f}")
    heading = f"  {printable(hit.heading)}" if hit.heading else ""
    lines = [f"{number}. {bold(place(hit.path, hit.line, hit.page))}{heading}"]
    lines.append(f"   {dim(', '.join(ranks))}")
    if hit.kind == "text":
        lines.append(f"   {_marked(hit)}")
    return [*lines, *copy_lines(hit)]


def copy_lines(hit: "Hit") -> list[str]:
    """Where else the same content stands."""
    if not hit.copies:
        return []
    shown = [place(copy.path, copy.line, copy.page) for copy in hit.copies[:_COPIES]]
    more = hit.copy_count - len(shown)
    return [f"   the same in {', '.join(shown)}" + (f" and {more:,} more" if more else "")]


_FEW = 3  # images whose labels are all shown


def classification_lines(report: "Classification") -> list[str]:
    """Show the labels of each image, skipped images, and how reliable the probabilities are."""
    few = len(report.pictures) <= _FEW
    lines = _each(report.pictures) if few else _as_table(report.pictures)
    lines += skipped_lines(report.skipped)
    if report.fit is not None:
        lines += _fit_lines(report.fit)
    counts = [
        counted(len(report.pictures), "image") if report.pictures else "",
        f"{len(report.skipped):,} skipped" if report.skipped else "",
        f"{report.unfamiliar:,} unlike what the encoder was trained on"
        if report.unfamiliar
        else "",
        f"{counted(report.labels, 'label')} in {counted(len(report.templates), 'template')}"
        if report.templates
        else f"{counted(report.labels, 'class', 'classes')} of the model's own",
        f"{report.encoder}",
        f"{report.seconds:.1f} s",
    ]
    lines.append(dim(", ".join(part for part in counts if part)))
    unusual = report.unfamiliar or 0
    better = offer(unusual, len(report.pictures), report.encoder)
    if better and report.templates:
        better = "; for photographs and labels of your own, name a CLIP folder with --encoder"
    if better:
        lines.append(
            f"{counted(unusual, 'image is', 'images are')} unlike all that {report.encoder} was "
            f"trained on{better}"
        )
    return [*lines, dim(printable(report.calibration))]


def _each(images: "list[ClassifiedImage]") -> list[str]:
    lines = []
    for image in images:
        lines.append(place(image.path))
        lines += [
            f"  {line}"
            for line in table(
                ["label", "probability", "cosine"],
                [
                    [
                        printable(one.label),
                        f"{one.probability:.3f}",
                        "-" if one.cosine is None else f"{one.cosine:z.3f}",
                    ]
                    for one in image.labels
                ],
            )
        ]
        if image.familiarity is not None and image.familiarity.unfamiliar:
            lines.append(
                "  unlike all that the encoder was trained on "
                f"({far(image.familiarity)}): the label is unreliable"
            )
        lines.append("")
    return lines


def _as_table(images: "list[ClassifiedImage]") -> list[str]:
    rows = []
    for image in images:
        row = [place(image.path), printable(image.label), f"{image.probability:.3f}"]
        unusual = image.familiarity is not None and image.familiarity.unfamiliar
        rows.append([*row, "unfamiliar" if unusual else ""])
    return [*table(["image", "label", "probability", ""], rows, figures=False), ""]


def _fit_lines(fit: "TemperatureFit") -> list[str]:
    rows = [
        ["calibration error (ECE)", f"{fit.ece_before:.4f}", f"{fit.ece_after:.4f}"],
        ["negative log-likelihood", f"{fit.nll_before:.4f}", f"{fit.nll_after:.4f}"],
    ]
    return [
        f"fitted on {counted(fit.pictures, 'labeled image')} ({fit.left_out:,} left out), "
        f"{fit.accuracy:.1%} of their first labels right:",
        *table(["", "before", "after"], rows),
    ]


def alignment_lines(report: "AlignmentEvaluation") -> list[str]:
    """Show retrieval, neighbors and geometry of the embedding space."""
    lines = skipped_lines(report.skipped)
    across = report.across
    if across is not None:
        lines += _recall_lines(across)
    for name, half in (("images", report.pictures), ("texts", report.texts)):
        if half is not None:
            lines += [*_half_lines(name, half, report.k), ""]
    unusual = report.unfamiliar
    reported = f", {counted(unusual, 'image')} unlike what it was trained on" if unusual else ""
    lines.append(dim(f"{report.encoder}, {report.k} neighbors{reported}, {report.seconds:.1f} s"))
    return lines


def _recall_lines(across: "Across") -> list[str]:
    rows = [
        [
            name,
            f"{recall.recall_at_1:.3f}",
            f"{recall.recall_at_5:.3f}",
            f"{recall.recall_at_10:.3f}",
            f"{recall.chance_at_1:.3f}",
            f"{recall.median_rank:g}",
            f"{recall.queries:,} in {recall.answers:,}",
        ]
        for name, recall in (
            ("text to image", across.text_to_image),
            ("image to text", across.image_to_text),
        )
    ]
    header = ["", "recall@1", "recall@5", "recall@10", "chance@1", "median rank", "queries"]
    return [
        *table(header, rows),
        "",
        f"cosine of image and own caption {across.matching_cosine:z.3f}, with those of others "
        f"{across.other_cosine:z.3f}; modality gap {across.modality_gap:.3f}",
        f"images as hubs of captions: {_hubs(across.hubness)}",
        "",
    ]


def _half_lines(name: str, half: "Half", k: int) -> list[str]:
    lines = [
        f"{half.count:,} {name}: anisotropy {half.anisotropy:z.3f}; hubs: {_hubs(half.hubness)}"
    ]
    if half.purity:
        rows = [
            [attribute, f"{share.shared:.3f}", f"{share.chance:.3f}", f"{share.values}"]
            for attribute, share in half.purity.items()
        ]
        header = [f"shared with {k} nearest", "measured", "chance", "values"]
        lines += table(header, rows)
    return lines


def _hubs(hubness: "Hubness") -> str:
    return (
        f"skewness {hubness.skewness:z.2f}, {hubness.antihubs:.1%} never found, the greatest for "
        f"{hubness.largest:.1%}"
    )


def out_of_distribution_lines(report: "IndexChange") -> list[str]:
    """Report images in an index that are out of distribution for its encoder."""
    if not report.unfamiliar:
        return []
    return [
        f"{report.unfamiliar:,} of the images embedded are unlike all that {report.encoder} was "
        "trained on; what a search says of them is unreliable"
        + offer(report.unfamiliar, report.added + report.changed, report.encoder)
    ]


def converted_lines(report: "IndexChange") -> list[str]:
    """Report images that were converted when they were read."""
    if not report.converted:
        return []
    return [f"images converted in reading: {listed(report.converted)}"]
