"""How a folder turns the states of tokens into one vector, read from its own configuration.

Folders of the sentence-transformers library say it in `modules.json` and its companions; for a
plain folder of the transformers library the mean over tokens is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import files
from ..errors import BadFile
from ..types import Role
from .checkpoint import ModelFolder, open_folder, read_object

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
# In the order in which sentence-transformers joins several of them.
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
_NO_LIMIT = 1_000_000  # tokenizers without a limit say 1e30


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps from a text to a vector.

    Attributes:
        transformer: the folder with the network and the tokenizer.
        pooling: how the states of tokens become one; several are joined.
        pool_prompt: whether the tokens of a prompt take part.
        after: what follows the pooling, in order: a folder with a dense layer, or None for a
            scaling to unit length. Unit length comes last in any case.
        max_length: tokens of the longest input, special tokens counted.
        lower_case: whether texts are lower-cased before the tokenizer.
        prompts: what goes before a text, by its role.
    """

    transformer: ModelFolder
    pooling: tuple[Pooling, ...]
    pool_prompt: bool
    after: tuple[Path | None, ...]
    max_length: int
    lower_case: bool
    prompts: Mapping[Role, str]


def read_recipe(root: Path) -> Recipe:
    """Read how the folder `root` makes vectors.

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
                    "Known: Transformer, Pooling, Dense, Normalize.",
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
    """Class name and folder of each step."""
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
        place = (root / folder).resolve()
        if not place.is_relative_to(root.resolve()):
            raise BadFile(f"{path} points outside of its folder: {folder!r}.", "Mend that entry.")
        steps.append((kind.rpartition(".")[2], place))
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
    """The least of what the configurations allow."""
    tokenizer = _read_if_there(model.path / "tokenizer_config.json")
    positions = model.config.get("max_position_embeddings")
    if isinstance(positions, int) and model.model_type in _COUNT_FROM_2:
        positions -= 2
    stated = (settings.get("max_seq_length"), tokenizer.get("model_max_length"), positions)
    lengths = [int(value) for value in stated if isinstance(value, int | float)]
    return min([length for length in lengths if 0 < length < _NO_LIMIT], default=512)


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_object(path) if path.exists() else {}
