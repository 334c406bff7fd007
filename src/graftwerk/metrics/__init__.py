"""Metrics of search, encoders, answers and images; intervals and plots."""
