"""Reports without a form of their own, for people."""

from graftwerk.cli.show import show
from graftwerk.models.results import ModelCard


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
