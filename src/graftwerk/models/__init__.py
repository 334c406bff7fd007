"""Pre-trained models: find, load, run, never change."""
