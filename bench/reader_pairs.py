"""Question-passage pairs of QED (Natural Questions), COVID-QA and files in SQuAD's format.

Pairs come with and without the answer. A pair without one has the passage whose sentence with the
answer was taken out, or one that shares words with the question but does not hold the answer's.
Paragraphs that are also in QED's development set are left out, as that set is reported.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from graftwerk.models.language.sentences import split_sentences

from .reader_sentences import Known, read_sentences

WORDS = 105  # most words of a passage
NEAREST = 12  # similar passages, of which one is taken
LOOSE = 2  # pairs of sets of sentences for one of another set of that size


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the data."""
    parser.add_argument("--qed", type=Path, required=True, help="folder with QED's files")
    parser.add_argument("--covid", type=Path, required=True, help="folder with those of COVID-QA")
    parser.add_argument("--squad", type=Path, nargs="*", default=[], help="files in SQuAD's format")
    parser.add_argument(
        "--sentences", type=Path, nargs="*", default=[], help="files of bench/reader_sentences.py"
    )


@dataclass(frozen=True)
class Pair:
    """A question and a passage under a heading; `span` is where its answer is, None without.

    `loose` says that the answer is somewhere in the span.
    """

    question: str
    heading: str
    passage: str
    span: tuple[int, int] | None
    loose: bool = False


def _bounds(starts: list[int], text: str) -> tuple[tuple[int, int], ...]:
    starts = starts or [0]
    ends = [*starts[1:], len(text)]
    return tuple((a, b) for a, b in zip(starts, ends, strict=True) if text[a:b].strip())


@cache
def read_qed(folder: Path) -> list[Known]:
    """Read the training files, in the first or the latest of QED's formats."""
    found = []
    for file in sorted(folder.glob("*train*.jsonlines")):
        for line in file.read_text("utf-8").splitlines():
            row = json.loads(line)
            text = row["paragraph_text"]
            if "answer_spans" in row:
                spans = [(a, b) for a, b in row["answer_spans"]]
            else:
                answers = row["original_nq_answers"][:1]
                spans = [(part["start"], part["end"]) for one in answers for part in one]
            if len(spans) != 1:
                continue
            sentences = _bounds(row["sentence_starts"], text)
            title = row["title_text"]
            found.append(Known(row["question_text"], title, text, sentences, spans[0], title))
    return found


@cache
def read_covid(folder: Path) -> list[Known]:
    """Read the latest of the files; long answers are left out."""
    file = max(folder.glob("*.json"))
    found = []
    for number, article in enumerate(json.loads(file.read_text("utf-8"))["data"]):
        for paragraph in article["paragraphs"]:
            text = paragraph["context"]
            sentences = tuple(split_sentences(text))
            for row in paragraph["qas"]:
                answer = row["answers"][0]
                words = answer["text"].strip().rstrip(".")
                start = text.find(words, max(0, answer["answer_start"] - 200))
                if 0 < len(words) <= 160 and start >= 0:
                    span = (start, start + len(words))
                    found.append(
                        Known(row["question"], "", text, sentences, span, f"article {number}")
                    )
    return found


@cache
def read_squad(file: Path) -> list[Known]:
    """Read a file in SQuAD's format; the shortest of several answers is taken."""
    found = []
    for number, article in enumerate(json.loads(file.read_text("utf-8"))["data"]):
        for part, paragraph in enumerate(article["paragraphs"]):
            text = paragraph["context"]
            sentences = tuple(split_sentences(text))
            # a title such as "Reddit comments" names a collection, not a document
            single = len(article["paragraphs"]) > 100
            document = f"{file.stem} {number} {part if single else ''}"
            titled = not single and "Amazon" not in article["title"]
            title = article["title"].replace("_", " ") if titled else ""
            for row in paragraph["qas"]:
                answers = [one for one in row["answers"] if 0 < len(one["text"].strip()) <= 160]
                if answers:
                    answer = min(answers, key=lambda one: len(one["text"]))
                    start = answer["answer_start"]
                    span = (start, start + len(answer["text"]))
                    if text[slice(*span)] == answer["text"]:
                        found.append(Known(row["question"], title, text, sentences, span, document))
    return found


def _asked(question: str, chance: random.Random) -> str:
    question = question.rstrip(" ?")
    return question + ("?" if chance.random() < 0.7 else "")


def _heading(one: Known, chance: random.Random) -> str:
    return one.title if chance.random() < 0.4 else ""


def answered(one: Known, chance: random.Random) -> Pair | None:
    """The pair of a question and some sentences around its answer."""
    holding = [n for n, (a, b) in enumerate(one.sentences) if a < one.span[1] and b > one.span[0]]
    if not holding:
        return None
    first, last = holding[0], holding[-1] + 1
    most = chance.randint(30, WORDS)

    def words(a: int, b: int) -> int:
        return len(one.text[one.sentences[a][0] : one.sentences[b - 1][1]].split())

    while True:
        grown = [
            (a, b)
            for a, b in ((first - 1, last), (first, last + 1))
            if a >= 0 and b <= len(one.sentences) and words(a, b) <= most
        ]
        if not grown:
            break
        first, last = chance.choice(grown)
    start, end = one.sentences[first][0], one.sentences[last - 1][1]
    span = (one.span[0] - start, one.span[1] - start)
    heading = _heading(one, chance)
    return Pair(_asked(one.question, chance), heading, one.text[start:end], span, one.loose)


def withheld(one: Known, chance: random.Random) -> Pair | None:
    """The pair without the sentence that answers; None where the rest repeats the answer."""
    pair = answered(one, chance)
    if pair is None or pair.span is None:
        return None
    words = one.text[slice(*one.span)].lower().strip()
    rest = [one.text[a:b].strip() for a, b in one.sentences if b <= one.span[0] or a >= one.span[1]]
    where = next(n for n, (a, b) in enumerate(one.sentences) if b > one.span[0])
    first = max(0, where - chance.randint(1, 4))
    kept = []
    for sentence in rest[first:]:
        if sum(len(s.split()) for s in kept) + len(sentence.split()) > WORDS:
            break
        kept.append(sentence)
    text = " ".join(kept)
    if len(text.split()) < 12 or words in text.lower():
        return None
    return replace(pair, passage=text, span=None)


def similar(known: list[Known], chance: random.Random) -> Iterator[Pair]:
    """Pairs of a question and another text that shares words with it, without its answer."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [chunk for one in known if (chunk := _chunk(one, chance))]
    reads = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    rows = reads.fit_transform([f"{t} {text}" for _, t, text in texts])
    order = list(range(len(known)))
    chance.shuffle(order)
    for n in order:
        one = known[n]
        scores = (rows @ reads.transform([one.question]).T).toarray()[:, 0]
        answer = one.text[slice(*one.span)].lower().strip()
        near = np.argsort(-scores)[:NEAREST].tolist()
        fitting = [i for i in near if texts[i][0] != one.text and answer not in texts[i][2].lower()]
        if fitting:
            _, title, text = texts[chance.choice(fitting)]
            heading = title if chance.random() < 0.4 else ""
            yield Pair(_asked(one.question, chance), heading, text, None)


def _chunk(one: Known, chance: random.Random) -> tuple[str, str, str] | None:
    first = chance.randrange(len(one.sentences)) if one.sentences else 0
    first = first if len(one.sentences) > 8 else 0
    text = one.text[one.sentences[first][0] :] if one.sentences else one.text
    words = text.split(" ")[: chance.randint(60, WORDS)]
    return (one.text, one.title, " ".join(words)) if len(words) > 20 else None


def _divide(known: list[Known]) -> tuple[list[Known], list[Known]]:
    """Parts to train on and to hold out, by document."""
    names = sorted({one.document for one in known})
    held = set(names[::20])
    return (
        [one for one in known if one.document not in held],
        [one for one in known if one.document in held],
    )


def _reported(folder: Path) -> set[str]:
    return {
        json.loads(line)["paragraph_text"]
        for file in folder.glob("*dev*.jsonlines")
        for line in file.read_text("utf-8").splitlines()
    }


def _sets(options: argparse.Namespace) -> dict[str, list[Known]]:
    """The questions of the files that `add_data_options` names."""
    reported = _reported(options.qed)
    if not reported:
        raise SystemExit(f"{options.qed} has no *dev*.jsonlines, whose paragraphs are left out.")
    return {
        "qed": [one for one in read_qed(options.qed) if one.text not in reported],
        "covid": read_covid(options.covid),
        **{file.stem: read_squad(file) for file in options.squad},
        **{f"{file.parent.name}/{file.stem}": read_sentences(file) for file in options.sentences},
    }


def make_pairs(options: argparse.Namespace, count: int, chance: random.Random) -> list[Pair]:
    """Return `count` pairs: 62 % with an answer, 19 % with it withheld, 19 % similar."""
    pairs: list[Pair] = []
    sets = _sets(options)
    sizes = {name: len(known) * (LOOSE if known[0].loose else 1) for name, known in sets.items()}
    for name, known in sets.items():
        share = sizes[name] / sum(sizes.values())
        train, _ = _divide(known)
        for makes, part in ((answered, 0.62), (withheld, 0.19)):
            made: list[Pair] = []
            while len(made) < count * share * part:
                order = chance.sample(train, len(train))
                made += [pair for one in order if (pair := makes(one, chance)) is not None]
            pairs += made[: int(count * share * part)]
        near = similar(train, chance)
        wanted = int(count * share * 0.19)
        pairs += [pair for pair, _ in zip(near, range(wanted), strict=False)]
    return pairs


def held_out_texts(options: argparse.Namespace) -> dict[str, list[Known]]:
    """Return the questions of documents that `make_pairs` does not use."""
    return {name: _divide(known)[1] for name, known in _sets(options).items()}


def held_out(options: argparse.Namespace, chance: random.Random) -> dict[str, list[Pair]]:
    """Return pairs of documents that `make_pairs` does not use."""
    found = {}
    for name, held in held_out_texts(options).items():
        some = chance.sample(held, min(90, len(held)))
        made = [makes(one, chance) for makes in (answered, withheld) for one in some]
        found[name] = [pair for pair in made if pair is not None]
    return found
