"""The command line: parse, run, show. All that it offers comes from `commands.CATALOGUE`."""

from .main import main

__all__ = ["main"]
