"""The command line: parse, run, show. It is built entirely from `commands.CATALOGUE`."""

from .main import main

__all__ = ["main"]
