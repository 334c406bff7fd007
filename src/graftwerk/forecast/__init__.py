"""Forecasts of time series: simple ones, pre-trained models, fine-tuning, backtests."""
