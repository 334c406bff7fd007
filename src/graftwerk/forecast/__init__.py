"""Time series forecasting: simple baselines, pre-trained models, fine-tuning, backtests."""
