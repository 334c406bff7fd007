"""Chapters on text: search and ask a handbook, adapt an encoder to labels."""

import csv
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import files, folders
from ..commands import embed, fit, search
from ..examples import HANDBOOK, QUESTIONS
from ..rag.results import Answer
from ..requests.finetune import Compare, Fit, Predict
from ..requests.models import Tour
from ..requests.search import Ask, Calibrate, Embed, IndexAdd, IndexVerify, Search
from ..types import Monitor, Silent
from . import recorded

REQUESTED = (
    "Are we allowed to play foosball during working hours?",
    "What happens if I lose my laptop?",
    "What is the company's policy on cryptocurrency payments?",
    "What may a hotel in Zurich cost?",
    "How long is parental leave paid in full by the company?",
)
SHORT = 3  # of these in the short tour; one of them has no answer
SEARCHED = "a puppy in the office"
EMBEDDED = (
    "The dog may come to work on Fridays.",
    "On Fridays pets are welcome in the office.",
    "Travel expenses are refunded within a month.",
)
TEXTS, EPOCHS = 240, 3
PREDICTED = ("The kettle boils over.", "Our flight leaves at noon.", "Sand it, then oil it.")

_TOPICS = {
    "kitchen": ("soup", "oven", "bread", "spoon", "recipe", "onion", "pan", "dough"),
    "garden": ("soil", "hedge", "seed", "spade", "rose", "compost", "lawn", "pond"),
    "workshop": ("drill", "plank", "glue", "screw", "bench", "saw", "varnish", "clamp"),
    "travel": ("train", "ticket", "hotel", "map", "airport", "luggage", "border", "ferry"),
}
_PATTERNS = (
    "The {a} was not where we had left it, so we took the {b}.",
    "Nobody had told us that the {a} needs a second {b}.",
    "Before the {a} comes the {b}, said the old man.",
    "She wrote a long letter about the {a} and never named the {b}.",
    "We waited an hour for the {a}; the {b} was worth it.",
)
_STRAY = 0.35  # of the texts name one thing of another topic


def search_and_ask(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Index the example handbook, search it, ask it, and check the index."""
    location = folder / "handbook-index"
    folders.remove(location, owner=folder)
    common: dict[str, Any] = {"index": location, "seed": request.seed, "device": request.device}
    added = search.run_index_add(IndexAdd(paths=[str(HANDBOOK)], **common), monitor)
    calibration = search.run_calibrate(Calibrate(file=QUESTIONS, **common), monitor)
    answers = []
    for question in REQUESTED if request.full else REQUESTED[:SHORT]:
        answers.append(search.run_ask(Ask(question=question, show_prompt=True, **common), Silent()))
        monitor.advance()

    def found(mode: Literal["hybrid", "vector", "text"], k: int) -> Any:
        return search.run_search(Search(query=SEARCHED, mode=mode, k=k, **common), monitor)

    everything = [hit.similarity or 0.0 for hit in found("vector", added.passages).hits]
    return {
        "added": added,
        "files": len(list(HANDBOOK.iterdir())),
        "calibration": calibration,
        "answers": [_answer(answer) for answer in answers],
        "searches": [found(mode, 2) for mode in ("hybrid", "vector", "text")],
        "any_passage": float(np.mean(everything)),
        "embedded": _embedded(request, monitor),
        "check": search.run_index_verify(IndexVerify(**common), monitor),
        "name": lambda path: Path(path).name,
    }


def _embedded(request: Tour, monitor: Monitor) -> dict[str, Any]:
    requested = Embed(inputs=list(EMBEDDED), seed=request.seed, device=request.device)
    embedding = embed.run_embed(requested, monitor)
    vectors = np.asarray(embedding.vectors)
    return {"texts": EMBEDDED, "cosines": (vectors @ vectors.T).tolist()}


def _answer(answer: Answer) -> dict[str, Any]:
    total = sum(answer.seconds.values()) or 1.0
    steps = [
        {"name": name, "milliseconds": seconds * 1000, "share": 100 * seconds / total}
        for name, seconds in answer.seconds.items()
    ]
    return {"report": answer, "steps": steps, "milliseconds": total * 1000}


def adapt(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Fit a linear head to short texts and predict; the full tour compares the methods."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    data, head = folder / "topics.csv", folder / "head"
    folders.remove(head, owner=folder)
    files.write_text(data, topic_table(TEXTS, request.seed))
    fitted = fit.run_fit(
        Fit(data=str(data), target="topic", how="linear", out=head, **common), monitor
    )
    predicted = fit.run_predict(Predict(fit=head, inputs=list(PREDICTED), **common), monitor)
    if request.full:
        content: dict[str, Any] = compare_methods(folder, request, monitor)
        source = None
    else:
        entry = recorded.load("compare", folder)
        content, source = entry["content"], entry["source"]
    rows = data.read_text("utf-8").splitlines()[1:7]
    return {"fitted": fitted, "predicted": predicted, "rows": rows, "source": source, **content}


def compare_methods(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Compare a head, LoRA and full fine-tuning on the same texts."""
    data, out = folder / "topics.csv", folder / "compare"
    folders.remove(out, owner=folder)
    files.write_text(data, topic_table(TEXTS, request.seed))
    options: dict[str, Any] = {"target": "topic", "top": 1, "epochs": EPOCHS, "out": out}
    requested = Compare(data=str(data), seed=request.seed, device=request.device, **options)
    return {"comparison": fit.run_compare(requested, monitor)}


def topic_table(count: int, seed: int) -> str:
    """Make a CSV of short texts on four topics, with the columns `text` and `topic`.

    Args:
        count: different texts.
        seed: of the random choices.
    """
    generator = np.random.default_rng(seed)
    names = list(_TOPICS)
    rows: dict[str, str] = {}
    while len(rows) < count:
        topic = names[int(generator.integers(len(names)))]
        first = str(generator.choice(_TOPICS[topic]))
        stray = generator.random() < _STRAY
        other = str(generator.choice(names)) if stray else topic
        second = str(generator.choice(_TOPICS[other]))
        if first != second:
            pattern = _PATTERNS[int(generator.integers(len(_PATTERNS)))]
            rows[pattern.format(a=first, b=second)] = topic
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["text", "topic"])
    writer.writerows(rows.items())
    return buffer.getvalue()
