"""Training recipes of the built-in models, each from scratch on scenes of the Blocks world."""
