"""The training loop; the result is a function of configuration, seed and step.

A training that is killed at any moment and resumed ends with the same bits as an uninterrupted one
(on a CPU with the same number of threads).
"""

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import files, folders
from ..allocation import reused_memory
from ..errors import BadFile, Cancelled, Diverged
from ..metrics.plots import COLOURS, Curve, Panel, lighter, plot_panels
from ..types import Monitor
from .session import Outcome, Plan, Session, Task, only_writer
from .state import (
    Facts,
    arithmetic,
    begin,
    claim,
    generator_for,
    holds_sealed,
    load_newest,
    require_same,
    save,
    tidy,
)

_MOST = 4  # threads; more wait for each other


def threads_for(device: str) -> int:
    """Return the number of prefetching threads: one on a CPU, several for a GPU."""
    return 1 if device == "cpu" else max(1, min(_MOST, (os.cpu_count() or 1) // 4))


@contextmanager
def prefetched(
    batch: Callable[[int, int], Any], parts: Iterator[tuple[int, int]], threads: int = 1
) -> Iterator[Iterator[tuple[int, Any]]]:
    """Prepare the next batches in other threads while the current one is in use."""

    def made() -> Iterator[tuple[int, Any]]:
        ahead: deque[tuple[int, Future[Any]]] = deque()
        for first, count in parts:
            ahead.append((first, pool.submit(batch, first, count)))
            if len(ahead) > threads:
                number, future = ahead.popleft()
                yield number, future.result()
        for number, future in ahead:
            yield number, future.result()

    with ThreadPoolExecutor(threads) as pool:
        yield made()


class Log:
    """A JSON Lines file; steps that were not finite are logged with NaN."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[dict[str, Any]]:
        """Return all complete lines; a kill may have truncated the last one."""
        if not self._path.is_file():
            return []
        entries: list[dict[str, Any]] = []
        for line in self._path.read_text("utf-8", "replace").splitlines():
            try:
                entry = files.parse_json(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                entries.append(entry)
        return entries

    def rewind(self, step: int) -> None:
        """Remove the entries after a step, since those steps will be repeated."""
        retained = [entry for entry in self.read() if entry["step"] <= step]
        files.write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in retained))

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one step."""
        files.append_text(self._path, json.dumps(dict(entry)) + "\n")


_ENTRY = {"step", "loss", "learning_rate", "gradient_norm"}  # of every line of a log


def is_training(folder: Path) -> bool:
    """Whether a folder contains an intact checkpoint or a training log."""
    if holds_sealed(folder / CHECKPOINTS):
        return True
    first = next(iter(Log(folder / LOG).read()), None)
    return first is not None and first.keys() >= _ENTRY


def require_no_others(folder: Path, known: Collection[str]) -> None:
    """Refuse to replace a training's folder that contains other files.

    Args:
        folder: of the training.
        known: expected names besides those of the training.

    Raises:
        BadFile: names what is there.
    """
    others = [name for name in folders.entries(folder) if name not in known]
    unusual = [name for name in others if name not in {CHECKPOINTS, LOG, PLOT}]
    if unusual:
        raise BadFile(
            f"{folder} holds {unusual[0]!r}, which is not of its training and would be lost.",
            "Move it away, or name another output folder.",
        )


_STRETCHES = 50  # that the smooth line is made of at most


def plot_losses(entries: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Return a PNG of the loss and its moving average over the steps.

    Args:
        entries: of the log; those without a finite loss are skipped.
        title: of the plot.
    """
    pairs = [(e["step"], e["loss"]) for e in entries if math.isfinite(e["loss"])]
    points = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    logarithmic = bool((points[:, 1] > 0).all())
    shown = np.log10(points[:, 1]) if logarithmic else points[:, 1]
    parts = np.array_split(
        np.column_stack([points[:, 0], shown]), min(_STRETCHES, len(points)) or 1
    )
    means = np.array([part.mean(axis=0) for part in parts if len(part)]).reshape(-1, 2)
    smooth = 10 ** means[:, 1] if logarithmic else means[:, 1]
    steps, losses = points.T.tolist()
    curves = (
        Curve("each step", steps, losses, colour=lighter(COLOURS[0], 0.6), width=1),
        Curve("mean", means[:, 0].tolist(), smooth.tolist(), colour=COLOURS[0], width=3),
    )
    name = "loss, on a logarithmic scale" if logarithmic else "loss"
    return plot_panels([Panel(name, curves, logarithmic)], title, height=482)


CHECKPOINTS, LOG, PLOT = "checkpoints", "log.jsonl", "loss.png"
_SKIPS_IN_ROW = 3
_COUNTERS = ("skipped", "skipped_in_row", "seconds")


def train(task: Task, plan: Plan, session: Session, monitor: Monitor) -> Outcome:
    """Train from the newest checkpoint in the folder, or from the start.

    Raises:
        BadInput: the folder contains a training with another configuration, or the batch cannot be
            divided among the processes.
        Busy: another process is training in the folder.
        Damaged: it contains checkpoints, but none is intact.
        Diverged: the loss is no longer finite.
        Cancelled: stopped by the monitor; the last step is saved.
        NoRoom: a checkpoint cannot be written; earlier ones are intact.
    """
    plan.part(session.group.size)
    with only_writer(session), reused_memory():
        return _Training(task, plan, session, monitor).run()


class _Training:
    """One session."""

    def __init__(self, task: Task, plan: Plan, session: Session, monitor: Monitor) -> None:
        self._task, self._plan, self._session, self._monitor = task, plan, session, monitor
        self._group = session.group
        self._state = begin(task.parameters(), plan, session.shares)
        self._log = Log(session.folder / LOG)
        self._checkpoints = session.folder / CHECKPOINTS
        self._losses: list[float] = []  # since the last checkpoint
        self._last_loss = math.inf

    def run(self) -> Outcome:
        state, plan = self._state, self._plan
        self._resume()
        first, seconds_before = state.step, state.seconds
        began = saved = time.monotonic()
        self._monitor.start("training", plan.steps)
        if first:
            self._monitor.advance(first)
        stopped: Cancelled | None = None
        settled = False
        threads = threads_for(state.device)
        with prefetched(self._task.batch, self._parts(first), threads) as batches:
            while state.step < plan.steps:
                self._step(batches)
                now = time.monotonic()
                state.seconds = seconds_before + now - began
                stopped = self._advance()
                settled = self._session.watch(state.step, state.average)
                minutes = self._session.minutes
                late = minutes is not None and now - began >= 60 * minutes
                if self._group.any(late or settled or stopped is not None, state.device):
                    break
                if now - saved >= self._session.save_seconds and state.step < plan.steps:
                    self._save()
                    saved = time.monotonic()
        if state.step > first:
            self._save()
        if stopped is not None:
            hint = f"{state.step} of {plan.steps} steps are kept; run it again to go on."
            raise Cancelled(stopped.message, hint) from stopped
        spent = state.seconds - seconds_before
        return Outcome(
            step=state.step,
            finished=settled or state.step >= plan.steps,
            loss=self._last_loss,
            skipped=state.skipped,
            seconds=state.seconds,
            items_per_second=(state.step - first) * plan.batch / spent if spent else 0.0,
            average=state.average,
        )

    def _resume(self) -> None:
        state, lead = self._state, self._group.leads
        require_same(self._checkpoints, self._session.configuration)
        if lead:
            claim(self._checkpoints)
            tidy(self._checkpoints)
        self._group.wait()
        loaded = load_newest(self._checkpoints, self._monitor.note)
        self._group.wait()
        if loaded is not None:
            parts, facts = loaded
            state.restore(parts)
            state.step = facts.step
            state.skipped = int(facts.counters["skipped"])
            state.skipped_in_row = int(facts.counters["skipped_in_row"])
            state.seconds = facts.counters["seconds"]
            self._last_loss = facts.loss
            self._monitor.note(f"going on after step {state.step} of {self._plan.steps}")
            threads = int(facts.counters["threads"])
            if threads != torch.get_num_threads():
                self._monitor.note(
                    f"begun with {threads} threads, now {torch.get_num_threads()}: the last bits "
                    "of the weights will differ"
                )
            began_in = "bfloat16" if facts.counters["bfloat16"] else "float32"
            if began_in != self._session.precision:
                self._monitor.note(f"begun in {began_in}, now in {self._session.precision}")
        if lead:
            self._log.rewind(state.step)

    def _parts(self, first_step: int) -> Iterator[tuple[int, int]]:
        """Yield first item and number of items of each micro-batch that this process computes."""
        plan, size = self._plan, self._plan.part(self._group.size)
        for step in range(first_step, plan.steps):
            begin_item = step * plan.batch + self._group.rank * plan.accumulate * size
            for part in range(plan.accumulate):
                yield begin_item + part * size, size

    def _step(self, batches: Iterator[tuple[int, Any]]) -> None:
        state, plan = self._state, self._plan
        rate = plan.rate_at(state.step)
        began = time.monotonic()
        loss, figures = self._gradients(batches)
        parameters = list(state.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(parameters, plan.clip_norm)
        finite = math.isfinite(loss) and bool(torch.isfinite(norm))
        if finite:
            for group in state.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            state.optimizer.step()
            state.advance_average(plan.average_decay)
            self._losses.append(loss)
        state.step += 1
        state.skipped += not finite
        state.skipped_in_row = 0 if finite else state.skipped_in_row + 1
        entry = {
            "step": state.step,
            "loss": loss if finite else math.nan,
            "learning_rate": rate,
            "gradient_norm": float(norm),
            "items_per_second": round(plan.batch / max(time.monotonic() - began, 1e-9), 2),
            "seconds": round(state.seconds, 3),
            **{name: float(value) for name, value in figures.items()},
        }
        if self._group.leads:
            self._log.add(entry | ({} if finite else {"skipped": True}))
        if state.skipped_in_row >= _SKIPS_IN_ROW:
            retained = "no checkpoint was written before them."
            if any(self._checkpoints.glob("step-*")):
                retained = f"the last checkpoint before them is in {self._checkpoints}."
            raise Diverged(
                f"loss or gradients of {_SKIPS_IN_ROW} steps in a row up to step {state.step} are "
                "not finite.",
                "Lower the learning rate, lengthen the warm-up, or look at the data of these "
                f"steps; {retained}",
            )

    def _gradients(self, batches: Iterator[tuple[int, Any]]) -> tuple[float, Mapping[str, Tensor]]:
        state, plan, device = self._state, self._plan, self._state.device
        state.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        figures: Mapping[str, Tensor] = {}
        for _ in range(plan.accumulate):
            first, data = next(batches)
            generator = generator_for(self._session.seed, first, device)
            with arithmetic(device, self._session.precision):
                loss, figures = self._task.loss(data, generator)
            (loss / plan.accumulate).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() / plan.accumulate
        gradients = []
        for parameter in state.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self._group.average([total, *gradients])
        return total.item(), figures

    def _advance(self) -> Cancelled | None:
        try:
            self._monitor.advance()
        except Cancelled as error:
            return error
        return None

    def _save(self) -> None:
        state, plan = self._state, self._plan
        if self._losses:
            self._last_loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        if not self._group.leads:
            return
        counters = {name: float(getattr(state, name)) for name in _COUNTERS}
        facts = Facts(
            step=state.step,
            configuration=self._session.configuration,
            loss=self._last_loss,
            counters=counters
            | {
                "threads": float(torch.get_num_threads()),
                "bfloat16": float(self._session.precision == "bfloat16"),
            },
        )
        save(self._checkpoints, state.parts(), facts)
        entries = self._log.read()
        title = f"{state.step:,} of {plan.steps:,} steps, {state.seconds / 60:.0f} min"
        files.write_bytes(self._session.folder / PLOT, plot_losses(entries, title))
        left = (plan.steps - state.step) * state.seconds / max(state.step, 1)
        self._monitor.note(
            f"step {state.step:,} of {plan.steps:,}: loss {self._last_loss:.4g}, "
            f"{state.step * plan.batch / max(state.seconds, 1e-9):.1f} items/s, "
            f"about {left / 60:.0f} min left"
        )
