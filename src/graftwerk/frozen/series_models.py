"""Which networks of the transformers library read time series."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeriesModel:
    """What is known of a type of network.

    Attributes:
        network: its class in the transformers library.
        inner: the part of it that encodes; empty: all of it.
    """

    network: str
    inner: str = ""


SERIES_MODELS: Mapping[str, SeriesModel] = {
    "patchtst": SeriesModel("PatchTSTModel"),
    "timesfm": SeriesModel("TimesFmModelForPrediction", "decoder"),
    "timesfm2_5": SeriesModel("TimesFm2_5ModelForPrediction", "model"),
}
