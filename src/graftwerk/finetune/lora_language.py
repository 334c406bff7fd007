"""LoRA for language models: the style of a text, by next-token prediction."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.nn import functional

from .. import limits
from ..adapters.lora import LowRank, install
from ..data import raw
from ..errors import BadInput
from ..models.checkpoint import fingerprint, open_folder
from ..models.hub import locate
from ..models.language.local import LocalWriter, load_language_model
from ..models.transformers import quiet
from ..text_safety import counted
from ..training.session import Session
from ..training.state import Loss, fast_precision, generator_for
from ..types import Monitor
from .lora_training import LoraJob, LoraTraining, claim, require_free, save_trained, teach

_HELD_OUT = 0.1  # share at the end of the text
_WINDOWS = 4  # minimum number of held-out windows, for an interval
_SHORTEST, _LONGEST = 8, 256  # tokens per window
_MEASURED = 512  # maximum number of held-out windows
_BATCH = 8
_PROMPT, _WRITTEN = 24, 48  # tokens of the held-out text to go on from, and to write


@dataclass(frozen=True, slots=True)
class Sample:
    """The start of the held-out text, and how the model goes on without and with the adapter."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True)
class Tokens:
    """A text as token ids.

    Attributes:
        learned: tokens to learn from.
        held_out: windows of the text after these.
        length: tokens per window.
    """

    learned: Int64[Tensor, " t"]
    held_out: Int64[Tensor, "n w"]
    length: int


class WritingTask:
    """Next-token prediction in windows of a text; see `training.session.Task`."""

    def __init__(self, network: Any, tokens: Tokens, steer: LowRank, seed: int) -> None:
        self._network, self._tokens, self._steer, self._seed = network, tokens, steer, seed

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """Return the parameters of the adapter."""
        return self._steer.parameters()

    def batch(self, first: int, count: int) -> Int64[Tensor, "b w"]:
        """Return windows that begin at random positions of the text."""
        rows = []
        for number in range(first, first + count):
            item = np.random.SeedSequence(self._seed, spawn_key=(number,))
            last = len(self._tokens.learned) - self._tokens.length
            start = int(np.random.default_rng(item).integers(last + 1))
            rows.append(self._tokens.learned[start : start + self._tokens.length])
        return torch.stack(rows)

    def loss(self, batch: Int64[Tensor, "b w"], generator: torch.Generator) -> Loss:
        """Return the mean cross-entropy of the next token, in nats."""
        self._steer.drop_with(generator)
        losses = self._losses(batch)
        self._steer.drop_with(None)
        return losses.mean(), {}

    def measure(self) -> Float64[np.ndarray, " n"]:
        """Return the mean cross-entropy of each held-out window."""
        with torch.no_grad():
            found = [self._losses(part) for part in torch.split(self._tokens.held_out, _BATCH)]
        return torch.cat(found).double().cpu().numpy()

    def _losses(self, windows: Int64[Tensor, "b w"]) -> Float[Tensor, " b"]:
        ids = windows.to(self._network.device)
        logits = self._network(input_ids=ids, use_cache=False).logits[:, :-1].float()
        errors = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        return errors.mean(dim=1)


def train_on_text(job: LoraJob, monitor: Monitor) -> tuple[LoraTraining, Tokens, Sample, int]:
    """Train, measure and save; return the result, tokens, a sample, and the folder's bytes.

    Raises:
        BadInput: text or model cannot be used.
        Diverged: the loss is not finite any more.
        Cancelled: stopped; running it again goes on.
        NoRoom: the folder cannot be written.
    """
    out = job.out.absolute()
    require_free(out, job.data, job.model)
    text = _read(job.data, monitor)
    monitor.start("loading the model")
    folder = open_folder(locate(job.model))
    network, tokenizer = load_language_model(job.model, folder, job.device)
    tokens = _cut(text, tokenizer, network, job.data)
    base = fingerprint(folder.path, {})
    steer = install(network, job.rank, generator_for(job.seed, 0, "cpu"), base)
    task = WritingTask(network, tokens, steer, job.seed)
    configuration = {
        "task": "write",
        "base": base,
        "data": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "length": tokens.length,
        "rank": asdict(job.rank),
        "plan": asdict(job.plan),
        "seed": job.seed,
    }
    location = str(network.device.type)
    session = Session(out, configuration, job.seed, precision=fast_precision(location))
    claim(out)
    trained = teach(task, job.plan, session, steer, task.measure, monitor)
    content = {
        "task": "write",
        "settings": configuration,
        "steps": trained.outcome.step,
        "metrics": asdict(trained.change)
        | {
            "perplexity_before": math.exp(trained.change.before),
            "perplexity_after": math.exp(trained.change.after),
        },
    }
    monitor.start("writing a sample")
    ids = tokens.held_out[0, : min(_PROMPT, tokens.length // 2)].tolist()
    context = getattr(network.config, "max_position_embeddings", None) or _LONGEST
    writer = LocalWriter(job.model, network, tokenizer, min(_WRITTEN, context - len(ids)))
    steer.scale = 0.0
    before = "".join(writer.continued(ids))
    steer.scale = 1.0
    sample = Sample(tokenizer.decode(ids), before, "".join(writer.continued(ids)))
    return trained, tokens, sample, save_trained(out, steer, job.model, content)


def _read(path: Path, monitor: Monitor) -> str:
    raw.require_text(path)
    text, found = raw.decode(raw.read_bytes(str(path), limits.TEXT_FILE), path.name)
    for note in raw.encoding_notes(found):
        monitor.note(f"{path.name}: {note}")
    return text


def _cut(text: str, tokenizer: Any, network: Any, path: Path) -> Tokens:
    """Split a text's tokens into a large part to learn from and a held-out end."""
    with quiet():
        ids = torch.tensor(tokenizer(text)["input_ids"], dtype=torch.long)
    first = math.ceil(len(ids) * (1 - _HELD_OUT))
    rest = len(ids) - first
    context = getattr(network.config, "max_position_embeddings", None) or _LONGEST
    length = min(context, _LONGEST, rest // _WINDOWS)
    if length < _SHORTEST:
        least = math.ceil(_SHORTEST * _WINDOWS / _HELD_OUT)
        raise BadInput(
            f"{path} has {counted(len(ids), 'token')}; that is too little to learn from and to "
            "measure on.",
            f"Give it at least {least:,} tokens, some {4 * least:,} characters.",
        )
    windows = ids[first : first + rest // length * length].view(-1, length)
    return Tokens(ids[:first], windows[:_MEASURED], length)
