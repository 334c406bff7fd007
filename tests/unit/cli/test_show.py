"""Reports for people."""

from graftwerk.cli.show import show
from graftwerk.models.results import ModelCard
from graftwerk.search.results import Hit, IndexChange, Location, SearchResult


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


def test_what_was_left_out_of_files_is_told(capsys):
    show(IndexChange(added=1, notes=[f"{n}.pdf: 1 page (2) cannot be read" for n in range(12)]))
    lines = capsys.readouterr().out.splitlines()
    assert sum("cannot be read" in line for line in lines) == 10
    assert "  and 2 more notes; --json has all" in lines
