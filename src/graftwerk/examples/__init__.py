"""Small data that ships with the package: the handbook of an invented violin workshop."""

from pathlib import Path

HANDBOOK = Path(__file__).parent / "handbook"
QUESTIONS = Path(__file__).parent / "questions.jsonl"
