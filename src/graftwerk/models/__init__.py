"""Frozen pre-trained models: locate, load, and run them."""
