"""Reports for people."""

import pytest

import graftwerk as gw
from graftwerk.cli.finetune import _cells, _shift, score_line
from graftwerk.cli.show import _FORMS, show
from graftwerk.finetune.results import Score
from graftwerk.models.results import ModelCard
from graftwerk.probing.results import Share, Shift
from graftwerk.requests.base import Request
from graftwerk.search.results import Hit, Location, SearchResult
from graftwerk.types import Silent, report_reading


def test_a_card_leaves_out_what_says_nothing_and_prints_details_as_lines(capsys):
    card = ModelCard(
        name="builtin/blocks",
        kind="diffusion pipeline",
        reads=["image", "text"],
        dimension=None,
        parameters=3,
        bytes=12,
        fingerprint="ab",
        path="blocks",
        details={"draws": "64 x 64 pixels", "prompts": {"query": "q: "}, "none": {}},
    )
    show(card)
    assert capsys.readouterr().out.splitlines() == [
        "name: builtin/blocks",
        "kind: diffusion pipeline",
        "reads: image, text",
        "parameters: 3",
        "bytes: 12",
        "fingerprint: ab",
        "path: blocks",
        "details:",
        "  draws: 64 x 64 pixels",
        "  prompts:",
        "    query: q: ",
    ]


def test_the_copies_of_a_hit_are_named_and_counted(capsys):
    copies = tuple(Location(f"/copy-{n}.md", 0, line=n) for n in range(1, 6))
    hit = Hit("/a.md", "text", "Words.", 0, 6, score=1.0, copies=copies, copy_count=9)
    alone = Hit("/b.md", "text", "Others.", 0, 7, score=0.5)
    show(
        SearchResult(
            query="q",
            mode="text",
            hits=[hit, alone],
            searched=11,
            pictures=0,
            familiarity=None,
            sheet=None,
            seconds=0.0,
        )
    )
    lines = capsys.readouterr().out.splitlines()
    reported = [line for line in lines if "the same in" in line]
    assert reported == ["   the same in /copy-1.md:1, /copy-2.md:2, /copy-3.md:3 and 6 more"]


def test_how_files_were_read_is_reported_once_for_those_alike():
    told = []
    monitor = Silent()
    monitor.note = told.append
    notes = [f"{n}.pdf: {n + 1} images left out" for n in range(12)]
    notes += [f"{n}.csv: other {chr(97 + n)}" for n in range(19)]
    report_reading([f"{n}.csv: UTF-8" for n in range(5)], notes, monitor)
    assert told[:4] == [
        *(f"table {n}.csv: UTF-8" for n in range(3)),
        "and 2 more tables; --json has all",
    ]
    assert told[4] == "0.pdf: 1 images left out (and 11 more likewise)"
    assert told[5] == "0.csv: other a"
    assert told[-1] == "and 4 more notes; --json has all"


def test_every_form_is_of_the_report_of_a_request():
    """Forms are found by name; one that no report has would never be used."""
    requests = [getattr(gw, name) for name in gw.__all__]
    reports = {
        name.rpartition(".")[2]
        for request in requests
        if isinstance(request, type) and issubclass(request, Request)
        for name in request.result_names()
    }
    assert set(_FORMS) <= reports
    assert reports - set(_FORMS) == {  # as all their fields; `Answer` has a form of its own
        "Answer", "EpisodeShown", "FitExported", "ModelCard", "TourResult",
    }  # fmt: skip


@pytest.mark.parametrize(("answers", "said"), [(0.16, True), (0.84, False)])
def test_quotes_that_hardly_answer_are_called_so(capsys, made, answers, said):
    quotes = [one.model_copy(update={"answers": answers}) for one in made.citations]
    assert quotes
    show(made.model_copy(update={"citations": quotes, "attributions": []}))
    assert ("none of these sentences is likely to answer" in capsys.readouterr().out) is said


@pytest.mark.parametrize("answers", [0.41, None])
def test_the_nearest_sentences_are_shown_with_their_probability(capsys, made, answers):
    """A question turned away often has its answer among them: nothing says that there is none."""
    nearest = [one.model_copy(update={"answers": answers}) for one in made.citations[:1]]
    show(made.model_copy(update={"abstained": True, "answer": "", "nearest": nearest}))
    first, _, heading, quote, where, *_ = capsys.readouterr().out.splitlines()
    assert (first, heading) == ("no certain answer in these documents", "nearest to one:")
    assert quote == '  "The desk opens at nine."'
    assert where.endswith("answers the question: 0.41 (nine)" if answers else "rules.md:3")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.md").write_text(
        "# Rules\n\nThe desk opens at nine. Dogs may come on Mondays.\n"
    )
    with gw.Index(folder / "index") as index:
        index.add(folder / "rules.md")
        yield index.ask("When does the desk open?")


def test_what_rounds_to_zero_has_no_sign(capsys):
    low = -1e-5
    hit = Hit("/a.png", "image", "", 0, 0, score=low, similarity=low)
    found = SearchResult(
        query="q", mode="vector", hits=[hit], searched=1, pictures=1, familiarity=None, sheet=None,
        seconds=0.0,
    )  # fmt: skip
    show(found)
    score = Score(name="R2", value=low, low=low, high=low, baseline=low, count=20)
    lines = [capsys.readouterr().out, score_line(score), *_cells(Share(r2=low, low=low, high=low))]
    lines.append(_shift(Shift(value=low, low=low, high=low, count=1)))
    assert not any("-0.0" in line for line in lines), lines
    assert "cosine 0.000" in lines[0] and lines[-1] == "+0.00 (+0.00 to +0.00)"
