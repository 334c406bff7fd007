"""Chapter: topics of short texts, fitted in every way and compared."""

from pathlib import Path
from typing import Any

from .. import files, folders, requests
from ..commands import compare, fit
from ..types import Monitor
from .topics import topic_table

_TEXTS, _EPOCHS = 240, 3
ASKED = ("The kettle boils over.", "Our flight leaves at noon.", "Sand it, then oil it.")


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Make data, compare the ways, predict with the one that is recommended."""
    data, out = folder / "topics.csv", folder / "compare"
    folders.remove(out, owner=folder)
    files.write_text(data, topic_table(_TEXTS, request.seed))
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    fitted: dict[str, Any] = {"target": "topic", "top": 1, "epochs": _EPOCHS, **common}
    asked = requests.Compare(data=str(data), out=out, **fitted)
    comparison = compare.run_compare(asked, monitor)
    kept = out / ("full" if comparison.recommended == "wise-ft" else comparison.recommended)
    said = fit.run_predict(requests.Predict(fit=kept, inputs=list(ASKED), **common), monitor)
    rows = data.read_text("utf-8").splitlines()[1:7]
    return {"comparison": comparison, "said": said, "rows": rows, "picture": "compare/compare.png"}
