"""Validations on the way of a run, the best weights on disk, and when to end."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import files
from ..errors import Damaged
from ..train.log import Log
from ..train.session import Precision
from .problem import Problem
from .scoring import point
from .tuning import Tuning

_BEST, _VALIDATIONS = "best.safetensors", "validations.jsonl"
_PER_EPOCH = 2  # validations
_NOTICED = 1e-3  # of the loss; slower descent is none
_FEWEST_STEPS = 10  # between two validations


class Watcher:
    """Validates now and then, keeps the best weights on disk, ends a run that gets no better."""

    def __init__(
        self,
        problem: Problem,
        tuning: Tuning,
        folder: Path,
        precision: Precision,
        last: int,
    ) -> None:
        """Watch a run.

        Args:
            problem: what it is tuned on.
            tuning: what is trained.
            folder: of the run.
            precision: of the arithmetic.
            last: number of the last step.
        """
        self.folder, self.precision = folder, precision
        self._problem, self._tuning, self._settings = problem, tuning, tuning.settings
        self._log = Log(folder / _VALIDATIONS)
        epoch = max(1, len(problem.split.train) // tuning.settings.batch)
        self._every = max(_FEWEST_STEPS, epoch // _PER_EPOCH)
        self._last = last

    def begin(self) -> None:
        """Validate the start, unless that was done before."""
        if not self.history():
            weights = {n: p.detach().clone() for n, p in self._tuning.parameters().items()}
            self.look(0, weights)

    def history(self) -> list[dict[str, Any]]:
        """All validations so far."""
        return self._log.read()

    def look(self, step: int, average: Mapping[str, Tensor]) -> bool:
        """Validate where it is time; true where the run gets no better."""
        if step % self._every and step != self._last:
            return False
        self._log.rewind(step - 1)
        score, loss = self._validate(average)
        self._log.add({"step": step, "score": score, "loss": loss})
        best, found = self._read_best(), {"step": step, "score": score, "loss": loss}
        if best is None or _is_better(found, best):
            self._write_best(found, average)
        return self.settled()

    def settled(self) -> bool:
        """Whether the last validations brought nothing."""
        history = self.history()
        best, since = history[0], 0
        for entry in history[1:]:
            better = _is_better(entry, best)
            best, since = (entry, 0) if better else (best, since + 1)
        return since >= self._settings.patience

    def take_best(self) -> dict[str, Any]:
        """Put the best weights in their places; gives their step, score and loss."""
        from safetensors.torch import load

        best = self._read_best()
        if best is None:
            raise Damaged(f"{self.folder} has no best weights.", "Remove it and run again.")
        tensors = load((self.folder / _BEST).read_bytes())
        with torch.no_grad():
            for name, parameter in self._tuning.parameters().items():
                parameter.copy_(tensors[name])
        return best

    def _validate(self, average: Mapping[str, Tensor]) -> tuple[float, float]:
        parameters = self._tuning.parameters()
        present = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        places = self._problem.split.validation
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(average[name])
            scores = self._tuning.scores(places, self.precision)
            for name, parameter in parameters.items():
                parameter.copy_(present[name])
        loss = self._tuning.mean_loss(scores, places)
        targets = self._problem.targets
        return point(scores, targets.values[places], targets.task), loss

    def _read_best(self) -> dict[str, Any] | None:
        from safetensors import SafetensorError, safe_open

        path = self.folder / _BEST
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as opened:
                facts: dict[str, Any] = files.parse_json(opened.metadata()["best"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise Damaged(f"{path} is damaged.", "Remove its folder and run again.") from error
        return facts

    def _write_best(self, facts: dict[str, Any], average: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in average.items()}
        content = save(tensors, metadata={"best": json.dumps(facts)})
        files.write_bytes(self.folder / _BEST, content)


def _is_better(found: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Whether a validation has a higher score, or the same one and a loss that fell noticeably."""
    if found["score"] != best["score"]:
        return bool(found["score"] > best["score"])
    return bool(found["loss"] < (1 - _NOTICED) * best["loss"])
