"""Files of paragraphs with questions, and the temporary index queried by an evaluation."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, limits
from ..data import raw
from ..data.documents.document import Document
from ..data.documents.text import find_paragraphs
from ..data.tables.columnar import json_lines
from ..errors import BadInput
from ..types import Encoder, Monitor
from .chunking import cut
from .index import create_or_open
from .rows import input_text

_FORM = 'Write [{"text": "...", "questions": [{"question": "...", "answers": ["..."]}]}].'
_FORM_OF_QUESTIONS = 'Write [{"question": "...", "answers": ["..."], "sentence": "..."}].'


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its accepted answers."""

    text: str
    answers: tuple[str, ...]
    sentence: str = ""  # words that only the right sentence has; empty: any that holds an answer


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A document of one paragraph and the questions that it answers."""

    text: str
    questions: tuple[Question, ...]


def read_paragraphs(path: Path) -> list[Paragraph]:
    """Read paragraphs in JSON or SQuAD's format; the fields `id` and `title` are not used."""
    content = _read_list(path, _FORM)
    paragraphs = [_paragraph(item, f"{path}, item {n}") for n, item in enumerate(content)]
    if not any(paragraph.questions for paragraph in paragraphs):
        raise BadInput(f"{path} contains no question.", _FORM)
    return paragraphs


def read_questions(path: Path) -> list[Question]:
    """Read a JSON list of questions about documents; without answers where these hold none."""
    content = _read_list(path, _FORM_OF_QUESTIONS)
    if not content:
        raise BadInput(f"{path} contains no question.", _FORM_OF_QUESTIONS)
    questions = [_question(item, f"{path}, item {n}") for n, item in enumerate(content)]
    for number, item in enumerate(content):
        if "answers" not in item:
            raise BadInput(
                f"{path}, item {number}: there is no field 'answers', but {', '.join(item)}.",
                f"{_FORM_OF_QUESTIONS} Without an answer in the documents, write [].",
            )
    return questions


def _read_list(path: Path, form: str) -> list[Any]:
    """Read a JSON list, JSON lines, or the paragraphs of a file in SQuAD's format."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        raw.require_text(path)
        limits.require_file_size(path, limits.JSON_FILE, "question file")
        text, _ = raw.decode(path.read_bytes(), path.name)
        return [value for _, value in json_lines(text, path.name)]
    content = files.read_json(path)
    if isinstance(content, dict) and "data" in content:
        try:
            return [_of_squad(part) for item in content["data"] for part in item["paragraphs"]]
        except (KeyError, TypeError) as error:
            raise BadInput(f"{path} is not in SQuAD's format: {error!r}.", form) from error
    if not isinstance(content, list):
        raise BadInput(f"{path} contains no list.", form)
    return content


def _of_squad(paragraph: Any) -> dict[str, Any]:
    questions = [
        {"question": one["question"], "answers": [answer["text"] for answer in one["answers"]]}
        for one in paragraph["qas"]
    ]
    return {"text": paragraph["context"], "questions": questions}


def _paragraph(item: Any, where: str) -> Paragraph:
    text = _text(item, "text", where)
    requested = item.get("questions")
    if not isinstance(requested, list):
        raise BadInput(f"{where}: field 'questions' is not a list.", _FORM)
    return Paragraph(
        text, tuple(_question(q, f"{where}, question {n}") for n, q in enumerate(requested))
    )


def _question(item: Any, where: str) -> Question:
    text = _text(item, "question", where)
    answers = item.get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise BadInput(f"{where}: field 'answers' is not a list of texts.", _FORM)
    sentence = item.get("sentence", "")
    if not isinstance(sentence, str):
        raise BadInput(f"{where}: field 'sentence' is not a text.", _FORM)
    return Question(text, tuple(answers), " ".join(sentence.split()))


def _text(item: Any, field: str, where: str) -> str:
    value = item.get(field) if isinstance(item, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"{where}: field {field!r} is not a text.", _FORM)
    return value


def build_index(
    folder: Path,
    paragraphs: Sequence[Paragraph],
    encoder: Encoder,
    layer: int | None,
    monitor: Monitor,
) -> float:
    """Split, embed and store paragraphs as `index add` does, each as a file of its own.

    Returns:
        Seconds that embedding took.
    """
    documents = [
        Document(document_path(folder, number), "text", item.text, find_paragraphs(item.text))
        for number, item in enumerate(paragraphs)
    ]
    passages = [cut(document) for document in documents]
    texts = [input_text(passage) for group in passages for passage in group]
    monitor.start("embedding", len(texts))
    begin = time.perf_counter()
    vectors = encoder.encode_texts(texts, advance=monitor.advance)
    seconds = time.perf_counter() - begin
    with create_or_open(folder, encoder, encoder.name, layer) as index:
        first = 0
        for document, group in zip(documents, passages, strict=True):
            content_hash = hashlib.sha256(document.text.encode("utf-8", "replace")).hexdigest()
            index.put(document.path, content_hash, group, vectors[first : first + len(group)])
            first += len(group)
        index.refresh()
    return seconds


def document_path(folder: Path, number: int) -> str:
    """Return the path of paragraph `number` in the index; no such file exists."""
    return str(files.real_path(folder) / f"paragraph-{number}.txt")
