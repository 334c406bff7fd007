"""Write question sets of documents that the trained reader has not seen, to fit constants on.

    python -m bench.reader_sets OUT --qed FOLDER --covid FOLDER --squad FILE ...

The documents are those that `bench/reader_pairs.py` holds out of QED, COVID-QA and files in SQuAD's
format. Each set is a folder OUT/NAME of Markdown files and a list of questions OUT/NAME.json, as in
`bench/questions`. A fifth of the paragraphs are left out: their questions have no answer.
`bench.fit_reading` and `bench.fit_evidence` take OUT as `--sets`.
"""

import argparse
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

from .reader_pairs import add_data_options, held_out_texts
from .reader_sentences import Known

QUESTIONS, LEFT_OUT = 80, 0.2
SHORTEST = 25  # characters of a question that says what it is about


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    add_data_options(parser)
    options = parser.parse_args()
    for name, known in held_out_texts(options).items():
        lines = write_set(options.out / name, known, random.Random(name))
        path = options.out / f"{name}.json"
        path.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")
        answered = sum(bool(line["answers"]) for line in lines)
        print(f"{name}: {answered} questions with an answer, {len(lines) - answered} without")


def write_set(folder: Path, known: Sequence[Known], chance: random.Random) -> list[dict]:
    """Write the documents, and return the questions."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, dict[str, str]] = {}
    for one in known:
        texts.setdefault(one.document, {})[one.text] = one.title
    kept = set()
    for document, paragraphs in texts.items():
        inside = [t for t in paragraphs if chance.random() >= LEFT_OUT]
        kept.update(inside)
        title = next(iter(paragraphs.values()))
        heading = [f"# {title}"] if title else []
        name = re.sub(r"\W+", "-", document).strip("-").lower()[:60]
        (folder / f"{name}.md").write_text("\n\n".join([*heading, *inside]) + "\n")
    lines = []
    for one in chance.sample(list(known), len(known)):
        if len(lines) == QUESTIONS:
            break
        if len(one.question) < SHORTEST:
            continue
        line: dict = {"question": one.question, "answers": []}
        if one.text in kept:
            a, b = next(s for s in one.sentences if s[1] > one.span[0])
            words = " ".join(one.text[a:b].split())[:60]
            line |= {"answers": [one.text[slice(*one.span)]], "sentence": words}
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
