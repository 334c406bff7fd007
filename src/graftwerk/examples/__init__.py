"""Small data that ships with the package.

The handbook of an invented violin workshop, questions on it, and airline passengers a month from
1949 to 1960 (Box and Jenkins, 1976).
"""

from pathlib import Path

HANDBOOK = Path(__file__).parent / "handbook"
QUESTIONS = Path(__file__).parent / "questions.jsonl"
PASSENGERS = Path(__file__).parent / "air-passengers.csv"
