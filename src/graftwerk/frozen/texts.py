"""A text encoder: tokens, batches by token budget, a forward function, checked unit vectors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..contracts import Modality, Role, Vectors
from ..errors import BadInput, Damaged
from .tokens import Forward, TokenReader, batches

_CHUNK = 4096  # texts tokenized and sorted at a time: bounds memory, keeps progress moving


@dataclass
class TextEncoder:
    """A frozen text encoder; see `contracts.Encoder`.

    Attributes:
        tokens: its tokenizer.
        forward: from token numbers to vectors.
        prompts: what goes before a text, by its role.
        pool_prompt: whether the prompt's tokens take part in the pooling.
        backend: `onnxruntime` or `pytorch`.
        batch_tokens: padded tokens in one batch.
        workers: batches computed at once.
    """

    name: str
    fingerprint: str
    dimension: int
    tokens: TokenReader
    forward: Forward
    backend: str
    batch_tokens: int
    workers: int = 1
    prompts: Mapping[Role, str] = field(default_factory=dict)
    pool_prompt: bool = True
    rescorer: str | None = None
    reads: frozenset[Modality] = frozenset({"text"})

    def encode_texts(
        self,
        texts: Sequence[str],
        role: Role = "document",
        advance: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Encode texts in their order; equal texts are computed once.

        Raises:
            Damaged: the model gives vectors that are not finite.
        """
        prompt = self.prompts.get(role, "")
        skip = 0 if self.pool_prompt or not prompt else self._prompt_tokens(prompt)
        places: dict[str, list[int]] = {}
        for place, text in enumerate(texts):
            places.setdefault(text, []).append(place)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        distinct = list(places)
        for start in range(0, len(distinct), _CHUNK):
            chunk = distinct[start : start + _CHUNK]
            rows = self.tokens.read([prompt + text for text in chunk])
            for batch, found in self._run(rows, skip):
                done = 0
                for number, vector in zip(batch, found, strict=True):
                    targets = places[chunk[number]]
                    vectors[targets] = vector
                    done += len(targets)
                if advance is not None:
                    advance(done)
        return vectors

    def encode_images(
        self,
        images: Sequence[Any],  # noqa: ARG002
        advance: Callable[[int], None] | None = None,  # noqa: ARG002
    ) -> Vectors:
        """Refuse pictures.

        Raises:
            BadInput: always.
        """
        raise cannot_read(self.name, "pictures", self.reads)

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, special tokens not counted."""
        return self.tokens.count(text)

    def _run(self, rows: list[list[int]], skip: int) -> Iterator[tuple[list[int], Vectors]]:
        """Each batch, as places in `rows`, with its vectors."""

        def run(batch: list[int]) -> Vectors:
            ids, mask = self.tokens.pad([rows[place] for place in batch])
            pooled = mask
            if skip:
                pooled = mask.copy()
                pooled[:, :skip] = 0
            return check_finite(self.name, self.forward(ids, mask, pooled))

        planned = batches([len(row) for row in rows], self.batch_tokens)
        if self.workers == 1 or len(planned) == 1:
            yield from ((batch, run(batch)) for batch in planned)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            running = [pool.submit(run, batch) for batch in planned]
            try:
                for batch, future in zip(planned, running, strict=True):
                    yield batch, future.result()
            finally:
                for future in running:
                    future.cancel()

    def _prompt_tokens(self, prompt: str) -> int:
        """Leading tokens of every input that belong to the prompt, the opening one counted."""
        return max(0, len(self.tokens.read([prompt])[0]) - 1)


def check_finite(name: str, vectors: Vectors) -> Vectors:
    """Return `vectors`; raise `Damaged`, naming the model, where one is not finite."""
    if not np.isfinite(vectors).all():
        raise Damaged(
            f"model {name!r} gives vectors that are not finite.",
            "Its weights are damaged or do not fit its config.json; copy it again.",
        )
    return vectors


def cannot_read(name: str, received: str, reads: frozenset[Modality]) -> BadInput:
    """The error for an input of a kind that an encoder does not read."""
    kinds = {"text": "texts", "image": "pictures"}
    return BadInput(
        f"encoder {name!r} does not read {received}.",
        f"It reads {' and '.join(kinds[kind] for kind in sorted(reads))}; for both choose a joint "
        "model, for example a CLIP folder.",
    )
