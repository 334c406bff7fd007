"""Training control branches: pairs of pictures and conditions, the task, the convergence meter."""
