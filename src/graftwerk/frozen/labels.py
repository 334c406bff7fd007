"""What a classifier's folder says of its labels, without its network."""

from pathlib import Path

from .folder import read_object

NOISE_AWARE = "graftwerk-noise-aware-classifier"


def noise_aware_labels(folder: Path) -> tuple[str, ...] | None:
    """Labels of a noise-aware classifier; None for a model of another type.

    Raises:
        BadFile: the folder has no configuration that can be read.
    """
    config = read_object(folder / "config.json")
    if config.get("model_type") != NOISE_AWARE:
        return None
    return tuple(str(label) for label in config.get("labels", ()))
