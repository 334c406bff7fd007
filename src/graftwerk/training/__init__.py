"""One training loop for everything, with checkpoints that survive a kill."""
