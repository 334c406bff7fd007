"""The public objects, which own models and state; used by commands, server and scripts."""
