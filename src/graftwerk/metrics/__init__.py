"""Figures: how good a search, an encoder or an answer is."""
