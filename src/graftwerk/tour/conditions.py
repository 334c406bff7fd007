"""Conditions: Canny's steps on a photograph, and the eight conditions of one scene."""

import importlib.util
from pathlib import Path
from typing import Any

from .. import folders, requests
from ..commands import condition
from ..commands import condition as condition_list
from ..types import Monitor, Silent

SCENE = 10
# a photograph that comes with scikit-learn, which is needed anyhow
_PHOTOGRAPH = ("sklearn", "datasets/images/china.jpg")


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Run the commands of conditions; returns what the template shows."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    place = folder / "conditions"
    folders.remove(place, owner=folder)
    place.mkdir(parents=True)
    photograph = _photograph()
    made = {}
    wanted: dict[str, dict[str, Any]] = {
        "stages": {"kind": "canny", "image": photograph, "stages": True, "thresholds": "auto"},
        "lines": {"kind": "hough", "image": photograph},
        "scribble": {"kind": "scribble", "image": photograph},
        "scene": {"kind": "all", "scene": SCENE},
    }
    for name, options in wanted.items():
        if options.get("image", photograph) is not None:
            asked = requests.MakeCondition(out=place / f"{name}.png", **options, **common)
            made[name] = condition.run_condition(asked, Silent())
        monitor.advance()
    kinds = condition_list.run_condition_list(requests.ConditionList(**common), monitor).kinds
    return {"made": made, "kinds": kinds, "number": SCENE, "photograph": photograph}


def _photograph() -> str | None:
    """Path of the photograph; None where scikit-learn came without it."""
    package, inner = _PHOTOGRAPH
    found = importlib.util.find_spec(package)
    places = found.submodule_search_locations if found is not None else None
    path = Path(places[0]) / inner if places else None
    return str(path) if path is not None and path.is_file() else None
