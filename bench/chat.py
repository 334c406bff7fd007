"""Follow-up questions of `bench/questions/conversations.json`: as typed, by rule, and by hand.

    python -m bench.chat [--show]

By hand is the question as a person would write it without the conversation: what is left to
reach. Counted are the turns after the first: the right sentence quoted first, quoted at all, and
no answer. The rules were written before the conversations, and were corrected with `handbook` and
`town`; `manual` and `encyclopedia` were only reported.
"""

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

from graftwerk.library.index import Index
from graftwerk.rag.results import Answer

from .fit_reading import HERE, SETS


def right(answer: Answer, words: str) -> str:
    quotes = [" ".join(one.quote.split()) for one in answer.citations]
    if not quotes:
        return "silent"
    if words in quotes[0]:
        return "first"
    return "quoted" if any(words in quote for quote in quotes) else "wrong"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the documents are in the repository")
    parser.add_argument("--show", action="store_true", help="print each question as it was asked")
    options = parser.parse_args()
    found: Counter[tuple[str, str, str]] = Counter()
    conversations = json.loads((HERE / "conversations.json").read_text())
    for name, documents in SETS.items():
        with tempfile.TemporaryDirectory() as folder, Index(Path(folder) / "index") as index:
            index.add(documents)
            for conversation in conversations:
                if conversation["set"] != name:
                    continue
                chat = index.chat()
                for question, alone, words in conversation["turns"]:
                    by_rule = chat.ask(question)
                    if alone is None:
                        continue
                    for way, answer in (
                        ("as typed", index.ask(question)),
                        ("by rule", by_rule),
                        ("by hand", index.ask(alone)),
                    ):
                        found[name, way, right(answer, words)] += 1
                    if options.show:
                        print(f"{right(by_rule, words):7}{question} -> {by_rule.asked or question}")
    print(f"{'set':14}{'question':10}  first  quoted  silent  of")
    for name in (*SETS, "all"):
        for way in ("as typed", "by rule", "by hand"):
            counts: Counter[str] = Counter()
            for (group, kind, outcome), count in found.items():
                if kind == way and name in (group, "all"):
                    counts[outcome] += count
            quoted = counts["first"] + counts["quoted"]
            print(
                f"{name:14}{way:10}{counts['first']:7}{quoted:8}{counts['silent']:8}"
                f"{counts.total():4}"
            )


if __name__ == "__main__":
    main()
