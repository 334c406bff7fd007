"""One loop for everything that is learned, with checkpoints that survive a kill."""
