"""Reports about images as people read them."""

import pytest

from graftwerk.cli.format import skipped_lines
from graftwerk.cli.search import (
    alignment_lines,
    classification_lines,
    out_of_distribution_lines,
    search_lines,
)
from graftwerk.metrics.results import Across, AlignmentEvaluation, Half, Hubness, Purity, Recall
from graftwerk.models.results import (
    Classification,
    ClassifiedImage,
    LabelProbability,
    TemperatureFit,
)
from graftwerk.results import Familiarity, Skipped
from graftwerk.search.results import Hit, IndexChange, SearchResult

FAR = Familiarity(distance=2.34, unfamiliar=True, false_alarm_rate=0.01)
NEAR = Familiarity(distance=0.5, unfamiliar=False, false_alarm_rate=0.01)


def classified(path="/a.png", familiarity=None):
    labels = [
        LabelProbability(label=label, probability=chance, cosine=0.5)
        for label, chance in (("a red\x1b cube", 0.75), ("a cone", 0.25))
    ]
    return ClassifiedImage(
        path=path, label=labels[0].label, probability=0.75, labels=labels, familiarity=familiarity
    )


def classification(*images, **changes):
    fields = {
        "pictures": list(images), "skipped": [], "unfamiliar": None, "labels": 2,
        "templates": ["{}"], "encoder": "e", "fingerprint": "f", "logit_scale": 10.0,
        "temperature": 1.0, "calibration": "not calibrated", "fit": None, "seconds": 1.0,
    }  # fmt: skip
    return Classification(**fields | changes)


def test_few_images_are_told_in_full():
    text = "\n".join(classification_lines(classification(classified(familiarity=FAR))))
    assert "/a.png\n  label" in text
    assert "a red\\x1b cube" in text and "\x1b cube" not in text
    assert "0.750" in text and "0.250" in text
    assert "2.3 times the distance that 1% of familiar images exceed" in text
    assert text.endswith("1 image, 2 labels in 1 template, e, 1.0 s\nnot calibrated")
    assert "unlike" not in "\n".join(
        classification_lines(classification(classified(familiarity=NEAR)))
    )


def test_many_images_are_a_table():
    images = [classified(f"/{n}.png", FAR if n == 2 else NEAR) for n in range(5)]
    skipped = [Skipped(path="/x\n.png", reason="It is not an image.")]
    lines = classification_lines(classification(*images, skipped=skipped, unfamiliar=1))
    assert lines[0].split() == ["image", "label", "probability"]
    assert [line.endswith("unfamiliar") for line in lines[1:6]] == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert "0.250" not in "\n".join(lines)
    assert "  skipped /x\\n.png: It is not an image." in lines
    assert "5 images, 1 skipped, 1 unlike what the encoder was trained on" in lines[-2]


def test_a_fit_is_told_before_and_after():
    fit = TemperatureFit(
        temperature=2.0, source="d", pictures=90, left_out=3, labels=2, labels_hash="h",
        templates=["{}"], encoder="e", fingerprint="f", accuracy=0.9, ece_before=0.1,
        ece_after=0.02, nll_before=1.0, nll_after=0.4,
    )  # fmt: skip
    lines = classification_lines(classification(fit=fit))
    assert (
        lines[0] == "fitted on 90 labeled images (3 left out), 90.0% of their first labels right:"
    )
    assert [line.split()[-2:] for line in lines[1:4]] == [
        ["before", "after"], ["0.1000", "0.0200"], ["1.0000", "0.4000"],
    ]  # fmt: skip


def hubness():
    return Hubness(skewness=1.5, antihubs=0.1, largest=0.2)


def recall(value):
    return Recall(
        recall_at_1=value, recall_at_5=1, recall_at_10=1, chance_at_1=0.1, median_rank=1.5,
        queries=10, answers=12,
    )  # fmt: skip


def test_alignment():
    half = Half(
        count=12,
        anisotropy=0.25,
        hubness=hubness(),
        purity={"kind": Purity(shared=0.9, chance=0.2, values=5)},
    )
    across = Across(
        text_to_image=recall(0.8), image_to_text=recall(0.7), matching_cosine=0.6,
        other_cosine=0.1, modality_gap=0.5, hubness=hubness(),
    )  # fmt: skip
    report = AlignmentEvaluation(
        encoder="e", k=10, across=across, pictures=half, texts=None, unfamiliar=3, skipped=[],
        seconds=2.0,
    )  # fmt: skip
    text = "\n".join(alignment_lines(report))
    assert [line.split()[3] for line in text.splitlines()[1:3]] == ["0.800", "0.700"]
    assert "12 images: anisotropy 0.250; hubs: skewness 1.50, 10.0% never found" in text
    assert text.endswith("e, 10 neighbors, 3 images unlike what it was trained on, 2.0 s")
    alone = alignment_lines(report.model_copy(update={"across": None, "unfamiliar": None}))
    assert "recall" not in "\n".join(alone) and alone[-1] == "e, 10 neighbors, 2.0 s"


def result(kind="image", **changes):
    hit = Hit(
        path="/a.png", kind=kind, heading="", line=None, page=None, start=0, end=0, score=0.2,
        similarity=0.5, vector_rank=1, text_rank=None, text="words" if kind == "text" else "",
        marks=(),
    )  # fmt: skip
    fields = {
        "query": "q", "mode": "hybrid", "hits": [hit], "searched": 5, "pictures": 5,
        "familiarity": None, "sheet": None, "seconds": 0.1,
    }  # fmt: skip
    return SearchResult(**fields | changes)


@pytest.mark.parametrize(
    ("pictures", "counted"),
    [(0, "5 passages"), (5, "5 images"), (2, "3 passages and 2 images")],
)
def test_what_was_searched(pictures, counted):
    assert search_lines(result(pictures=pictures))[-1] == f"1 of {counted}, hybrid, 100 ms"


def test_an_image_among_the_hits():
    lines = search_lines(result(sheet="out.png", familiarity=FAR))
    assert lines[:3] == ["1. /a.png", "   image, score 0.2000, semantic #1, cosine 0.500", ""]
    assert lines[-2] == "images side by side -> out.png"
    assert "unlike all that the encoder was trained on (2.3 times" in lines[-1]
    assert len(search_lines(result(familiarity=NEAR))) == 4
    assert "image" not in search_lines(result("text", pictures=0))[1]


def change(**changes):
    fields = dict.fromkeys(
        ("added", "changed", "unchanged", "removed", "passages", "embedded", "reused"), 0
    )
    return IndexChange(
        **fields | {"skipped": [], "unfamiliar": None, "encoder": "e", "seconds": 1.0} | changes
    )


def test_unfamiliar_images_of_an_index():
    assert (
        out_of_distribution_lines(change()) == out_of_distribution_lines(change(unfamiliar=0)) == []
    )
    (line,) = out_of_distribution_lines(change(unfamiliar=1200))
    assert line.startswith("1,200 of the images embedded are unlike all that e was trained on")


def test_files_skipped_for_one_reason_share_a_line():
    skipped = [Skipped(path=f"/{n}.json", reason="Its ending.") for n in range(4)]
    assert skipped_lines(skipped) == ["  skipped 4 such as /0.json: Its ending."]
    assert len(skipped_lines(skipped[:3])) == 3
    mixed = [*skipped, Skipped(path="/x", reason="Other.")]
    assert skipped_lines(mixed)[1:] == ["  skipped /x: Other."]
