"""ControlNet: the branch, its training, and the convergence meter."""
