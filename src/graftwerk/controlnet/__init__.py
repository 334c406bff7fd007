"""Training control branches: pairs of images and conditions, the task, the convergence meter."""
