"""Encoders of time series."""

SERIES_MODELS: dict[str, str] = {}
