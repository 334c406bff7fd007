"""A monitor that remembers, for every test of what is said during a run."""

import pytest

from graftwerk.types import Silent


class Listener(Silent):
    """A monitor that keeps what it hears."""

    def __init__(self):
        self.pieces = []
        self.notes = []
        self.shown = []

    def show(self, report):
        self.shown.append(report)

    def stream(self, piece):
        self.pieces.append(piece)

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def listener():
    return Listener()
