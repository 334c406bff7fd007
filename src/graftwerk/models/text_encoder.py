"""Text encoders: tokenization, batches by token budget, forward pass, checked unit vectors.

Texts are tokenized with the `tokenizers` library and grouped into batches with little padding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from jaxtyping import Int64

from .. import files, limits
from ..errors import BadFile, BadInput, Damaged
from ..results import Modality
from ..types import Advance, Role, Vectors
from .checkpoint import ModelFolder, open_folder, read_object
from .hub import within

if TYPE_CHECKING:
    import tokenizers


_T = TypeVar("_T")
TokenIds = Int64[np.ndarray, "b t"]
# (ids, mask, pooled) -> vectors; `pooled` is 1 for the tokens that take part in the pooling
Forward = Callable[[TokenIds, TokenIds, TokenIds], Vectors]


@dataclass(frozen=True)
class TokenReader:
    """A tokenizer that truncates at `max_length`.

    Attributes:
        definition: content of a `tokenizer.json`.
        max_length: maximum number of tokens, including special tokens.
        pad_id: token id used for padding, which the mask hides.
        lower_case: whether texts are lower-cased first.
        fixed_length: whether every input is padded to `max_length`.
    """

    definition: str
    max_length: int
    pad_id: int = 0
    lower_case: bool = False
    fixed_length: bool = False

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, with special tokens, truncated at `max_length`."""
        cleaned = [self._clean(text) for text in texts]
        encodings = tokenize(lambda: self._cutting.encode_batch_fast(cleaned), cleaned)
        return [encoding.ids for encoding in encodings]

    def read_whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, without special tokens and without truncation."""
        cleaned = [self._clean(text) for text in texts]
        encodings = tokenize(
            lambda: self._counting.encode_batch_fast(cleaned, add_special_tokens=False), cleaned
        )
        return [encoding.ids for encoding in encodings]

    def count(self, text: str) -> int:
        """Return the number of tokens in the whole `text`, without special tokens."""
        return len(self.read_whole([text])[0])

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token id."""
        return max(self._counting.get_vocab().values(), default=-1) + 1

    @property
    def vocabulary(self) -> list[str]:
        """The text of each token id; empty for ids that are not used."""
        texts = [""] * self.vocabulary_size
        for text, number in self._counting.get_vocab().items():
            texts[number] = text
        return texts

    @property
    def special(self) -> set[int]:
        """Ids of the special tokens, which stand for no text, and of the unknown token."""
        added = self._counting.get_added_tokens_decoder()
        found = {number for number, token in added.items() if token.special}
        unknown = getattr(self._counting.model, "unk_token", None)
        number = self._counting.token_to_id(unknown or "")
        return found if number is None else found | {number}

    @property
    def frame(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after every text."""
        encoding = self._counting.encode("a")
        inside = [
            location for location, mark in enumerate(encoding.special_tokens_mask) if not mark
        ]
        return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]

    def pad(self, rows: Sequence[list[int]]) -> tuple[TokenIds, TokenIds]:
        """Return token ids and mask of one batch, padded on the right."""
        width = self.max_length if self.fixed_length else max(1, *map(len, rows))
        ids = np.full((len(rows), width), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.int64)
        for location, row in enumerate(rows):
            ids[location, : len(row)] = row
            mask[location, : len(row)] = 1
        return ids, mask

    def _clean(self, text: str) -> str:
        # File names and some documents contain lone surrogates, which the tokenizer refuses.
        text = text.encode("utf-8", "replace").decode()
        return text.lower() if self.lower_case else text

    @cached_property
    def _cutting(self) -> "tokenizers.Tokenizer":
        tokenizer = parse_tokenizer(self.definition)
        tokenizer.enable_truncation(self.max_length)
        return tokenizer

    @cached_property
    def _counting(self) -> "tokenizers.Tokenizer":
        return parse_tokenizer(self.definition)


def tokenize(work: Callable[[], _T], texts: Sequence[str]) -> _T:
    """Run a tokenizer with a time limit, as a model's own patterns may take forever.

    Raises:
        BadFile: it takes longer than any does, or gives up.
    """
    seconds = limits.TOKENIZER_SECONDS + limits.CHARACTER_SECONDS * sum(map(len, texts))
    hint = "Take another model, or correct the patterns in its tokenizer.json."
    try:
        return within(seconds, work)
    except TimeoutError:
        raise BadFile(f"the model's tokenizer takes more than {seconds:.0f} s.", hint) from None
    except ValueError as error:
        raise BadFile(f"the model's tokenizer fails: {error}.", hint) from error


def parse_tokenizer(definition: str) -> "tokenizers.Tokenizer":
    """Create a tokenizer that neither truncates nor pads.

    Raises:
        Damaged: `definition` is no content of a `tokenizer.json`.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(definition)
    except Exception as error:  # the library raises plain Exception
        raise Damaged(f"a tokenizer.json cannot be read: {error}.", "Copy it again.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Group items into batches of similar length.

    Args:
        lengths: number of tokens of each item.
        tokens: maximum of rows times longest row in a batch; a single row may be longer.

    Returns:
        Indices of the items, longest batch first, so that memory runs out at once or never.
    """
    order = sorted(range(len(lengths)), key=lambda location: -lengths[location])
    found: list[list[int]] = []
    for location in order:
        if found and lengths[found[-1][0]] * (len(found[-1]) + 1) <= tokens:
            found[-1].append(location)
        else:
            found.append([location])
    return found


_CHUNK = 4096  # texts tokenized and sorted at a time; limits memory and keeps progress updated


class ReadsTexts:
    """What encoders of texts alone share: a tokenizer, and that they refuse images."""

    name: str
    tokens: TokenReader
    reads: frozenset[Modality]

    def encode_images(self, images: Sequence[Any], advance: Advance | None = None) -> Vectors:  # noqa: ARG002
        """Refuse images.

        Raises:
            BadInput: always.
        """
        raise cannot_read(self.name, "images", self.reads)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens in `text`, without special tokens."""
        return self.tokens.count(text)


@dataclass
class TextEncoder(ReadsTexts):
    """A frozen text encoder; see `types.Encoder`.

    Attributes:
        tokens: its tokenizer.
        forward: maps token ids to vectors.
        prompts: prefix of a text, by its role.
        pool_prompt: whether the prompt's tokens are included in the pooling.
        backend: `onnxruntime` or `pytorch`.
        batch_tokens: number of tokens in one batch, including padding.
        workers: number of batches computed in parallel.
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
        self, texts: Sequence[str], role: Role = "document", advance: Advance | None = None
    ) -> Vectors:
        """Encode texts in order; duplicates are computed once.

        Raises:
            Damaged: the model gives vectors that are not finite.
        """
        prompt = self.prompts.get(role, "")
        skip = 0
        if prompt and not self.pool_prompt:
            skip = max(0, len(self.tokens.read([prompt])[0]) - 1)
        locations: dict[str, list[int]] = {}
        for location, text in enumerate(texts):
            locations.setdefault(text, []).append(location)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        distinct = list(locations)
        for start in range(0, len(distinct), _CHUNK):
            chunk = distinct[start : start + _CHUNK]
            rows = self.tokens.read([prompt + text for text in chunk])
            for batch, found in self._run(rows, skip):
                done = 0
                for number, vector in zip(batch, found, strict=True):
                    targets = locations[chunk[number]]
                    vectors[targets] = vector
                    done += len(targets)
                if advance is not None:
                    advance(done)
        return vectors

    def _run(self, rows: list[list[int]], skip: int) -> Iterator[tuple[list[int], Vectors]]:
        """Yield the vectors of each batch with the indices of its items in `rows`."""

        def run(batch: list[int]) -> Vectors:
            ids, mask = self.tokens.pad([rows[location] for location in batch])
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


def check_finite(name: str, vectors: Vectors) -> Vectors:
    """Return `vectors`; raise `Damaged`, naming the model, if one is not finite."""
    if not np.isfinite(vectors).all():
        raise Damaged(
            f"model {name!r} gives vectors that are not finite.",
            "Its weights are damaged or do not fit its config.json; copy it again.",
        )
    return vectors


def cannot_read(name: str, received: str, reads: frozenset[Modality]) -> BadInput:
    """Return the error for an input of a kind that an encoder does not read."""
    kinds = {"text": "texts", "image": "images"}
    return BadInput(
        f"encoder {name!r} does not read {received}.",
        f"It reads {' and '.join(kinds[kind] for kind in sorted(reads))}; for both choose a joint "
        "model, for example a CLIP folder.",
    )


Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
# In the order in which sentence-transformers concatenates several of them.
_FORMER_KEYS: dict[str, Pooling] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS = frozenset(_FORMER_KEYS.values())
_PROMPT_NAMES: dict[Role, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}
# Types whose first position has the number pad_token_id + 1
_COUNT_FROM_2 = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl"}
VOCABULARIES = {
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
}
_NO_LIMIT = 1_000_000  # tokenizers without a limit say 1e30


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps from a text to a vector.

    Attributes:
        transformer: the folder with the network and the tokenizer.
        pooling: how the token states are pooled into one vector; several are concatenated.
        pool_prompt: whether the tokens of a prompt are included.
        after: the steps after pooling, in order: a folder with a dense layer, or None for scaling
            to unit length. Scaling to unit length always comes last.
        max_length: maximum number of tokens, including special tokens.
        lower_case: whether texts are lower-cased before tokenization.
        prompts: prefix of a text, by its role.
    """

    transformer: ModelFolder
    pooling: tuple[Pooling, ...]
    pool_prompt: bool
    after: tuple[Path | None, ...]
    max_length: int
    lower_case: bool
    prompts: Mapping[Role, str]


def read_recipe(root: Path) -> Recipe:
    """Read the steps from a text to a vector from the folder `root`.

    Raises:
        BadFile: a part is missing, or a step is not known here.
    """
    modules = _read_modules(root)
    transformer = root
    pooling: tuple[Pooling, ...] = ("mean",)
    pool_prompt = True
    after: list[Path | None] = []
    for kind, folder in modules:
        match kind:
            case "Transformer" | "CLIPModel" | "StaticEmbedding":
                transformer = folder
            case "Pooling":
                pooling, pool_prompt = _read_pooling(folder / "config.json")
            case "Dense":
                after.append(folder)
            case "Normalize":
                after.append(None)
            case _:
                raise BadFile(
                    f"{root / 'modules.json'} has a step {kind!r} that is not known here.",
                    "ProbeTargets: Transformer, Pooling, Dense, Normalize.",
                )
    settings = _read_if_there(transformer / "sentence_bert_config.json")
    model = open_folder(transformer)
    return Recipe(
        transformer=model,
        pooling=pooling,
        pool_prompt=pool_prompt,
        after=tuple(after),
        max_length=_max_length(model, settings),
        lower_case=bool(settings.get("do_lower_case", False)),
        prompts=_read_prompts(root),
    )


def _read_modules(root: Path) -> list[tuple[str, Path]]:
    path = root / "modules.json"
    if not path.exists():
        return []
    content = files.read_json(path)
    if not isinstance(content, list):
        raise BadFile(f"{path} does not hold a list of steps.", "Copy the folder again.")
    steps = []
    for entry in content:
        kind = entry.get("type") if isinstance(entry, dict) else None
        folder = entry.get("path") if isinstance(entry, dict) else None
        if not isinstance(kind, str) or not isinstance(folder, str):
            raise BadFile(f"{path} has a step without type or path.", "Copy the folder again.")
        location = files.real_path(root / folder)
        if not location.is_relative_to(files.real_path(root)):
            raise BadFile(f"{path} points outside of its folder: {folder!r}.", "Fix that entry.")
        steps.append((kind.rpartition(".")[2], location))
    return steps


def _read_pooling(path: Path) -> tuple[tuple[Pooling, ...], bool]:
    settings = read_object(path)
    named = settings.get("pooling_mode")
    if named is None:
        modes: list[Any] = [mode for key, mode in _FORMER_KEYS.items() if settings.get(key)] or [
            "mean"
        ]
    else:
        modes = [named] if isinstance(named, str) else list(named)
    unknown = [mode for mode in modes if mode not in _POOLINGS]
    if unknown:
        raise BadFile(
            f"{path} asks for pooling {unknown[0]!r}.", f"Known: {', '.join(sorted(_POOLINGS))}."
        )
    return tuple(modes), bool(settings.get("include_prompt", True))


def _read_prompts(root: Path) -> dict[Role, str]:
    settings = _read_if_there(root / "config_sentence_transformers.json")
    prompts = settings.get("prompts") or {}
    default = prompts.get(settings.get("default_prompt_name"), "")
    return {
        role: next((prompts[name] for name in names if name in prompts), default)
        for role, names in _PROMPT_NAMES.items()
    }


def _max_length(model: ModelFolder, settings: Mapping[str, Any]) -> int:
    tokenizer = _read_if_there(model.path / "tokenizer_config.json")
    positions = model.config.get("max_position_embeddings")
    if isinstance(positions, int) and model.model_type in _COUNT_FROM_2:
        positions -= 2
    stated = (settings.get("max_seq_length"), tokenizer.get("model_max_length"), positions)
    lengths = [int(value) for value in stated if isinstance(value, int | float)]
    return min([length for length in lengths if 0 < length < _NO_LIMIT], default=512)


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}
