"""Validation of sampling options, without importing any sampling code."""

from math import inf
from typing import get_args

from ..errors import BadInput, UnknownName
from .base import Sampler

SAMPLERS: tuple[str, ...] = get_args(Sampler)
_WITH_ETA = ("ddim", "tcd", "model")


def require_sampler(name: str, eta: float) -> None:
    """Check a sampler's name and whether it supports `eta`.

    Raises:
        UnknownName: there is no such sampler.
        BadInput: it does not support `eta`.
    """
    if name not in SAMPLERS:
        raise UnknownName("sampler", name, SAMPLERS)
    if eta and name not in _WITH_ETA:
        raise BadInput(f"sampler {name!r} takes no eta ({eta}).", "Use --sampler ddim or tcd.")


def parse_interval(text: str | None) -> tuple[float, float]:
    """Return the lowest and highest noise level of `LO:HI`; either may be omitted.

    Raises:
        BadInput: it has another form, or LO is not below HI.
    """
    low, colon, high = (":" if text is None else text).partition(":")
    try:
        lowest, highest = float(low or 0), float(high or inf)
    except ValueError:
        colon = ""
    if not colon or not 0 <= lowest < highest:
        raise BadInput(
            f"interval {text!r} is not possible.",
            "Write two noise levels, LO:HI with LO below HI, for example 0.3:3; either may be "
            "left out.",
        )
    return lowest, highest
