"""How the built-in models are trained, each from nothing, on scenes of the Blocks world."""
