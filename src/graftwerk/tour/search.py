"""First chapter: index the example handbook, search it, ask it, check it."""

from pathlib import Path
from typing import Any

from .. import folders, requests
from ..commands import ask, search
from ..commands import ask as calibrate
from ..commands import index as index_add
from ..commands import index as index_verify
from ..examples import HANDBOOK, QUESTIONS
from ..rag.results import Answer
from ..types import Monitor, Silent

ASKED = (
    "Are we allowed to play foosball during working hours?",
    "What may a hotel in Zurich cost?",
    "How long is parental leave paid in full by the company?",
    "What happens if I lose my laptop?",
    "What is the company's policy on cryptocurrency payments?",
)
SEARCHED = "a puppy in the office"


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Run the commands of search and ask; returns what the template shows."""
    index = folder / "handbook-index"
    folders.remove(index, owner=folder)
    common: dict[str, Any] = {"index": index, "seed": request.seed, "device": request.device}
    added = index_add.run_index_add(requests.IndexAdd(paths=[str(HANDBOOK)], **common), monitor)
    calibration = calibrate.run_calibrate(requests.Calibrate(file=QUESTIONS, **common), monitor)
    answers = []
    for question in ASKED:
        asked = requests.Ask(question=question, show_prompt=True, **common)
        answers.append(ask.run_ask(asked, Silent()))
        monitor.advance()
    searches = [
        search.run_search(requests.Search(query=SEARCHED, mode=mode, k=3, **common), monitor)
        for mode in ("hybrid", "vector", "text")
    ]
    check = index_verify.run_index_verify(requests.IndexVerify(**common), monitor)
    return {
        "added": added,
        "files": sorted(path.name for path in HANDBOOK.iterdir()),
        "calibration": calibration,
        "answers": [_answer(answer) for answer in answers],
        "searches": searches,
        "check": check,
        "name": lambda path: Path(path).name,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    """An answer with its timings as shares of the whole, for the bar on the page."""
    total = sum(answer.seconds.values()) or 1.0
    steps = [
        {"name": name, "milliseconds": seconds * 1000, "share": 100 * seconds / total}
        for name, seconds in answer.seconds.items()
    ]
    return {"report": answer, "steps": steps, "milliseconds": total * 1000}
