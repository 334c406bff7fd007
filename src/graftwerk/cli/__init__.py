"""The command line: parse, call a verb, show. Everything it offers comes from `verbs.CATALOGUE`."""

from .main import main

__all__ = ["main"]
