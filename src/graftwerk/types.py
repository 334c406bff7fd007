"""Types shared between the parts of the package.

Shape legend, used in every annotation of the package:

    n  items (texts, images, passages)     d  dimension of an embedding
    t  tokens                                k  hits
    b  batch      c  channels      h w  height and width
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from .errors import BadInput
from .results import Modality, Passage

if TYPE_CHECKING:
    import torch

    from .results import Report


Vectors = Float32[np.ndarray, "n d"]
Role = Literal["query", "document"]
Advance = Callable[[int], None]  # called with a number of items as they are done
# 0 for the embeddings, negative from the end; "all": every one behind the embeddings, joined;
# "multiscale": these of an image and of the image at half its size; None: the last, as the model
# itself takes it
HiddenLayer = int | Literal["all", "multiscale"] | None


@runtime_checkable
class Encoder(Protocol):
    """A frozen model that turns texts or images into unit vectors of float32.

    Attributes:
        name: as the user wrote it, for example `builtin/minilm` or a folder.
        fingerprint: hash of weights and of everything else that changes a vector.
        dimension: length of a vector.
        reads: what it can encode.
        rescorer: name of the encoder that puts the first hits in their final order, where this
            one is a fast stand-in for it; None where it is itself the full encoder.
    """

    name: str
    fingerprint: str
    dimension: int
    reads: frozenset[Modality]
    rescorer: str | None

    def encode_texts(
        self, texts: Sequence[str], role: Role = "document", advance: Advance | None = None
    ) -> Vectors:
        """Encode texts; `advance(count)` is called as they are done, and may raise to stop."""
        ...

    def encode_images(self, images: Sequence[Any], advance: Advance | None = None) -> Vectors:
        """Encode `PIL.Image` images."""
        ...

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens in `text`, special tokens not counted."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered document of a prompt: `number` is what a citation `[n]` names."""

    number: int
    passage: Passage


@dataclass(frozen=True, slots=True)
class Prompt:
    """Input of a writer: the full text, and its parts for writers that need no text.

    Attributes:
        text: the prompt in the reference's form, documents framed by `nonce`.
        question: the bare question.
        sources: the documents in it, in their order.
        nonce: the random mark that frames documents in this prompt; empty without documents.
    """

    text: str
    question: str
    sources: tuple[Source, ...] = ()
    nonce: str = ""


@runtime_checkable
class Writer(Protocol):
    """A frozen model that writes an answer.

    Attributes:
        name: as the user wrote it.
        extractive: true when it only quotes sentences of the sources.
    """

    name: str
    extractive: bool

    def count_tokens(self, text: str) -> int:
        """Return the tokens of `text` by the writer's own tokenizer, or its best estimate."""
        ...

    def write(self, prompt: Prompt) -> Iterator[str]:
        """Yield the answer piece by piece; raises `WriterFailed` when it breaks off."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """A diffusion model as one function; guidance, control and clamping wrap it.

    Variance-exploding form, whatever the network inside was trained with: an image `x0` at noise
    level `sigma` is `x = x0 + sigma * noise`, with `noise` of unit variance. The score is
    `(denoise(x, sigma) - x) / sigma**2`.
    """

    def __call__(self, x: "torch.Tensor", sigma: "float | torch.Tensor") -> "torch.Tensor":
        """Return the expected `x0` given `x`.

        Args:
            x: noisy images or latents, [b c h w].
            sigma: noise level, above 0, of all rows, or one for each row, [b].
        """
        ...


_TABLES, _ALIKE, _LINES = 3, 3, 20  # shown of what was read
_NUMBERS = re.compile(r"\d[\d,]*")


@runtime_checkable
class Monitor(Protocol):
    """How a command tells its caller what it is doing; a caller stops it by raising here."""

    def start(self, task: str, total: int | None = None) -> None:
        """A stage begins: `task` names it, `total` counts its items where known."""
        ...

    def advance(self, count: int = 1) -> None:
        """`count` more items are done; raises `Cancelled` when the user asked to stop."""
        ...

    def note(self, text: str) -> None:
        """One line for the user that is no result: a warning, a choice that was made."""
        ...

    def stream(self, piece: str) -> None:
        """A piece of an answer as it is written."""
        ...

    def chart(self, figures: Mapping[str, Sequence[float]]) -> None:
        """The course so far of what is measured meanwhile, by name; NaN where nothing was."""
        ...

    def show(self, report: "Report") -> None:
        """A part of the result that is finished, such as one turn of a conversation."""
        ...


class Silent:
    """A monitor that says nothing."""

    def start(self, task: str, total: int | None = None) -> None:
        """Say nothing."""

    def advance(self, count: int = 1) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def stream(self, piece: str) -> None:
        """Say nothing."""

    def chart(self, figures: Mapping[str, Sequence[float]]) -> None:
        """Say nothing."""

    def show(self, report: "Report") -> None:
        """Say nothing."""


class Noting:
    """A monitor that keeps the notes, and tells another one everything."""

    def __init__(self, monitor: Monitor) -> None:
        self.notes: list[str] = []
        self.start, self.advance, self.stream = monitor.start, monitor.advance, monitor.stream
        self.chart, self.show, self._note = monitor.chart, monitor.show, monitor.note

    def note(self, text: str) -> None:
        """Keep the note and pass it on."""
        self.notes.append(text)
        self._note(text)


class Unpicklable:
    """Base of objects that hold open files or whole models, which pickle would copy."""

    def __reduce__(self) -> Any:
        """Refuse to be pickled or deep-copied."""
        raise BadInput(
            f"an object of the class {type(self).__name__} cannot be pickled or copied.",
            "Pass the name or folder that it was opened with, and open it there.",
        )


Task = Literal["class", "labels", "number"]


def report_reading(tables: Sequence[str], notes: Sequence[str], monitor: Monitor) -> None:
    """Report how inputs were read; of many alike, the first ones and their number.

    Args:
        tables: format of each table, with its name.
        notes: what is not read as it stands, each with the name of its file.
        monitor: receives the lines.
    """
    lines = [f"table {words}" for words in tables[:_TABLES]]
    if tables[_TABLES:]:
        lines.append(f"and {len(tables) - _TABLES:,} more tables; --json has all")
    alike: dict[str, list[str]] = {}
    for note in notes:
        alike.setdefault(_NUMBERS.sub("#", note.partition(": ")[2] or note), []).append(note)
    for group in alike.values():
        first, *others = group
        lines += [f"{first} (and {len(others):,} more likewise)"] if others[_ALIKE:] else group
    for line in lines[:_LINES]:
        monitor.note(line)
    if lines[_LINES:]:
        monitor.note(f"and {len(lines) - _LINES:,} more notes; --json has all")


def note_unused(
    given: Iterable[str], unused: Mapping[str, Iterable[str]], how: str, monitor: Monitor
) -> None:
    """Note which of the given options, in `unused` by method, have no effect with the method."""
    names = [name for name in unused.get(how, ()) if name in set(given)]
    if names:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        monitor.note(f"no effect with --how {how}: {options}")
