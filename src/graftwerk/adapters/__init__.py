"""Adapters for frozen models; at zero, each leaves the frozen model exactly as it is."""
