"""Follow-up questions made to stand alone, by a language model or by rules.

"And for children?", "Who pays for it?" and "Why?" lean on the turn before. The rules put the noun
phrase of the last question, or the answer's own words, where a pronoun or nothing stands. They
know English and no grammar: a phrase is a run of words that are neither function words nor the
verbs and adjectives that questions are made of. What a language model makes of a question is used
only where each of its words comes from the conversation.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .. import limits
from ..models.language.sentences import NUMBER_WORDS, content_stems, split_words, stem
from ..requests.search import Ask
from ..text_safety import as_html, counted
from ..types import Encoder, Monitor, Prompt, Silent, Writer
from .evidence import Asker, Stopwatch
from .results import Answer

# ruff: noqa: RUF001, SIM905  apostrophes; word lists

_FUNCTION = frozenset(
    """a about after again all also am an and another any anybody anyone anything are as at be been
    before but by can cannot could did do does during each every for from had has have he her hers
    him his how i if in into is it its just many may me might mine more most much must my need no
    not of off on once one ones only or other our out over per same shall she should so some
    someone somebody such than that the their them then there these they this those through to too
    under until up us was we were what when where which while who whom whose why will with within
    without would you your yours today now yet still ever instead please back down up off away ahead
    since cant dont doesnt didnt isnt arent wont""".split()
)
# words that are about a thing and do not name it, by their stems
_ABOUT = frozenset(
    map(
        stem,
        """allow apply arrive ask assign begin belong borrow bring build built buy cancel carry
        catch change charge claim close collect come contact cost count cover deliver die drink
        drive eat end enter expire extend fall fit get give go handle happen hire hold include
        join jump keep know last lend let like live look lose lost make mean meet move
        obtain offer open order own park pay play prevent protect provide put reach read receive
        refuse register rent renew repair replace request require reserve return run say see sell
        send serve shut sign sleep smoke speak spend stand start stay stop switch take talk teach
        tell think travel try turn understand use wait want wear win work write big bad cheap cold
        deep due early expensive far fast few first free full good hard heavy high hot large late
        less little long loud low near necessary new normal often old open possible quick short
        small soon tall third useful valid visible warm welcome wide lit quickly illegal married
        become kind sort type called named located made done paid gone found supposed""".split(),
    )
)
_DETERMINERS = frozenset("the a an my our your this that these those his her its their".split())
_PREPOSITIONS = "for in on at to with from of by during after before without about"
_PREPOSITION = re.compile(rf"\b(?:{_PREPOSITIONS.replace(' ', '|')})\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:['’.\-][^\W_]+)*(?:['’](?= \w))?|[^\w\s]")
_MORE = re.compile(r"(?:and|but|or|so|also|then|ok(?:ay)?)\b,?\s*", re.IGNORECASE)
_ABOUT_WHAT = re.compile(r"(?:what|how) (?:about|of)\b\s*", re.IGNORECASE)
_ASKS = re.compile(
    r"\b(?:how|what|which|who|whom|whose|when|where|why|is|are|was|were|do|does|did|can|could|may"
    r"|must|should|will|would|has|have|had|am|shall|might)\b",
    re.IGNORECASE,
)
_PEOPLE = re.compile(r"\b(?!The |A |An |In |On |At )[A-Z][a-z]+(?: [A-Z][a-z]+)+")
# `it` that stands for nothing
_EMPTY_IT = re.compile(
    r"\bit (?:(?:take|cost|allowed|possible|necessary|true|normal|ok|okay|okay|better|worth|safe)\b"
    r"(?= (?:to|that|if|for)\b)|rain|snow)",
    re.IGNORECASE,
)
_PRONOUNS = {
    "person": re.compile(r"\b(?:he|she|him|his|hers?)\b", re.IGNORECASE),
    "place": re.compile(r"(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )\bthere\b", re.IGNORECASE),
    "several": re.compile(r"\b(?:they|them|theirs?|these|those)\b(?! [a-z]*s\b)", re.IGNORECASE),
    "thing": re.compile(
        r"\b(?:it|its)\b|\bone\b(?=\s*(?:[?.,;!]|$))"
        r"|\b(?:this|that)\b(?=\s*(?:[?.,;!]|$|is\b|was\b|for\b|in\b|on\b|at\b|to\b|by\b|too\b"
        r"|cost|mean|apply|include|cover|take|work|happen|count|end|start|last))",
        re.IGNORECASE,
    ),
}
_SUBJECTS = frozenset("i we you he she they who".split())
_INVERTING = frozenset("do does did can could may must should will would".split())
_WHICH = re.compile(
    r"which (\w+) (?!.*\b(?:do|does|did|can|may|must|should|will|is|are)\b)(\w.*?)[ ?.!]*$",
    re.IGNORECASE,
)
_WHY = re.compile(r"why\b", re.IGNORECASE)
_MANY = re.compile(r"how many\b", re.IGNORECASE)
_PLACES = re.compile(r"\b(?:in|at|on)\b", re.IGNORECASE)
_POSSESSIVE = frozenset("his hers her its their theirs".split())
_HISTORY = (
    "Rewrite the last question so that it can be understood without this conversation. Reply with "
    "the rewritten question and nothing else.\n"
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase of a question.

    Attributes:
        before: the word before it, in lower case.
    """

    text: str
    start: int
    end: int
    before: str


def stand_alone(
    question: str, turns: Sequence[Answer], writer: Writer, encoder: Encoder, budget: int
) -> str:
    """Return the question as it would be asked without the turns before it.

    Args:
        question: as it was typed.
        turns: what was asked and answered, oldest first.
        writer: a language model rewrites; an extractive writer leaves it to the rules.
        encoder: compares phrases.
        budget: tokens of the prompt for a language model; older turns are left out.
    """
    if not turns:
        return question
    if not writer.extractive:
        written = _rewritten(question, turns, writer, budget)
        if written:
            return written
    return by_rule(question, turns, encoder)


def _rewritten(question: str, turns: Sequence[Answer], writer: Writer, budget: int) -> str | None:
    text = f"Last question: {question}"
    for turn in reversed(turns):
        older = f"Question: {turn.asked or turn.question}\nAnswer: {turn.answer or 'none'}\n{text}"
        if writer.count_tokens(_HISTORY + older) > budget:
            break
        text = older
    reply = "".join(writer.write(Prompt(_HISTORY + text, question))).strip()
    first = reply.splitlines()[0].strip("\"' ") if reply else ""
    usable = first.endswith("?") and len(first) <= limits.QUESTION_CHARACTERS
    words = content_stems(first) if usable else frozenset[str]()
    return first if words and words <= content_stems(text) else None


def by_rule(question: str, turns: Sequence[Answer], encoder: Encoder) -> str:
    """Return the question with what it leaves to the turns; unchanged where it leaves nothing."""
    asked = [turn.asked or turn.question for turn in turns]
    before = next((one for one in reversed(asked) if "(" not in one), asked[-1])
    more = _MORE.match(question)
    rest = question[more.end() :] if more else question
    about = _ABOUT_WHAT.match(rest)
    fragment = rest[about.end() :] if about else rest
    if (about or more) and not _ASKS.match(fragment) and fragment.strip(" ?.!"):
        return _exchanged(before, fragment.strip(" ?.!"), encoder)
    replaced = _replace_pronouns(rest, turns)
    if replaced != rest:
        return _capital(replaced)
    if not list_phrases(rest):
        kind = "several" if _MANY.match(rest) else "thing"
        subject = before.rstrip(" ?.!") if _WHY.match(rest) else topic(turns, kind)
        return _capital(f"{rest.rstrip(' ?.!')} ({subject})?") if subject else question
    return question


def list_phrases(question: str) -> list[Phrase]:
    """Return the noun phrases of a question, in order."""
    phrases: list[Phrase] = []
    run: list[re.Match[str]] = []
    before = determiner = ""
    begin = 0
    inverted = False  # "does the lamp use": a verb follows the first phrase
    for word in [*_WORD.finditer(question), None]:
        lower = word[0].lower() if word else ""
        bare = lower.replace("'", "").replace("’", "")
        if word is not None and word[0][0].isalnum() and bare not in _FUNCTION:
            run.append(word)
            continue
        run, inverted = _trimmed(run, "" if determiner else before, inverted)
        inverted = inverted or lower in _INVERTING
        if run:
            start = begin if determiner and begin < run[0].start() else run[0].start()
            text = question[start : run[-1].end()]
            phrases.append(Phrase(text, start, run[-1].end(), before))
        run, determiner = [], lower if lower in _DETERMINERS else ""
        if word is not None:
            begin = word.start()
            before = before if determiner else lower
    return phrases


def _trimmed(
    run: list[re.Match[str]], before: str, inverted: bool
) -> tuple[list[re.Match[str]], bool]:
    """Leave out the verbs and adjectives around a phrase; say whether its verb is still to come."""
    verb = before in _SUBJECTS or (before == "to" and run and run[0][0].islower())
    run = run[1:] if verb else run
    while run and _says_about(run[0][0], before):
        run = run[1:]
    length = len(run)
    while run and _says_about(run[-1][0], "" if len(run) > 1 else "the"):
        run = run[:-1]
    if inverted and not verb and len(run) == length > 1 and run[-1][0].islower():
        run = run[:-1]
    return run, inverted and not length and not verb


def _says_about(word: str, before: str) -> bool:
    lower = word.lower()
    if lower.endswith("ing") or (lower.endswith("ed") and before == "the"):
        return False  # working hours, the red lamp
    if lower.isdigit() or lower in NUMBER_WORDS:
        return True
    return stem(lower) in _ABOUT or (len(lower) > 4 and lower.endswith("ed"))


def topic(turns: Sequence[Answer], kind: str) -> str:
    """Return what a pronoun of this kind most probably stands for; empty where nothing does."""
    last = turns[-1]
    asked = last.asked or last.question
    span = last.citations[0].span if last.citations else ""
    if kind == "person":
        people = [name for text in (span, last.answer, asked) for name in _PEOPLE.findall(text)]
        return people[0] if people else ""
    if which := _WHICH.match(asked):
        return f"the {which[1]} that {which[2]}"
    found = list_phrases(asked)
    heading = last.hits[0].heading.rsplit(" > ", 1)[-1] if last.hits else ""
    if not found:
        return heading
    stems, titled = content_stems(last.answer), content_stems(heading)
    earlier = content_stems(" ".join(turn.asked or turn.question for turn in turns[:-1]))

    def score(phrase: Phrase) -> float:
        own = content_stems(phrase.text)
        plural = split_words(phrase.text)[-1].endswith("s") and not phrase.text.endswith("ss")
        return (
            0.7 * len(own & stems) / max(1, len(own))
            + 0.7 * bool(own & titled)
            + 1.0 * bool(own & earlier)
            + 0.1 * (len(own) > 1)
            + 0.3 * any(word[0].isupper() for word in phrase.text.split() if phrase.start)
            - 1.0 * (phrase.before in {"many", "much", "what", "which"})
            + (0.5 if plural == (kind == "several") else -0.5)
            + 1.0 * (kind == "place" and bool(_PREPOSITION.fullmatch(phrase.before)))
        )

    best = max(found, key=score)
    return re.sub(r"^an? ", "the ", best.text, flags=re.IGNORECASE)


def _replace_pronouns(question: str, turns: Sequence[Answer]) -> str:
    for kind, pattern in _PRONOUNS.items():
        for found in pattern.finditer(question):
            if kind == "thing" and _EMPTY_IT.match(question, found.start()):
                continue
            name = topic(turns, kind)
            if not name:
                break
            word = found[0].lower()
            follows = question[found.end() :].lstrip(" ")
            owns = word in _POSSESSIVE and not (word == "her" and not follows[:1].isalpha())
            if kind == "place":
                name = f"in {name}"
            name += "'s" if owns else ""
            question = question[: found.start()] + name + question[found.end() :]
            break
    return question


def _exchanged(before: str, fragment: str, encoder: Encoder) -> str:
    """Put a fragment into the last question: for the phrase that it is most like, or at its end."""
    question = before.rstrip(" ?.!")
    opening = _PREPOSITION.match(fragment)
    if opening:
        own = re.compile(rf"\b{opening[0]}\b", re.IGNORECASE)
        same = [*(_PLACES if _PLACES.match(fragment) else own).finditer(question)]
        if same:
            last = same[-1]
            next_one = _PREPOSITION.search(question, last.end())
            end = next_one.start() - 1 if next_one else len(question)
            return f"{question[: last.start()]}{fragment}{question[end:]}?"
        return f"{question} {fragment}?"
    phrases = list_phrases(question)
    if not phrases:
        return f"{question} ({fragment})?"
    vectors = encoder.encode_texts([fragment, *(phrase.text for phrase in phrases)])
    around = [0.1 * bool(_PREPOSITION.fullmatch(phrase.before)) for phrase in phrases]
    best = phrases[int(np.argmax(vectors[1:] @ vectors[0] - around))]
    return f"{question[: best.start]}{fragment}{question[best.end :]}?"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


class Conversation:
    """A conversation with an index, made by `Index.chat`.

    A follow-up question is made to stand alone before it is asked: by the language model that
    writes, or else by rules, which put the noun phrase of the last question where a pronoun or
    nothing stands. Every turn is an `Answer` with its own citations and its own abstention, and
    names the question that was really asked in `asked`.

    >>> import graftwerk as gw
    >>> gw.Index("docs.graft").chat()
    <Conversation: 0 turns>

    Attributes:
        turns: the answers so far.
    """

    def __init__(self, request: Callable[..., Ask], asker: Callable[[Ask], Asker]) -> None:
        self.turns: list[Answer] = []
        self._request = request
        self._asker = asker

    def __repr__(self) -> str:
        return f"<Conversation: {counted(len(self.turns), 'turn')}>"

    def _repr_html_(self) -> str:
        return "".join(
            f"<h4>{as_html(turn.question)}</h4>{turn._repr_html_()}" for turn in self.turns
        )

    def ask(self, question: str, *, monitor: Monitor | None = None) -> Answer:
        """Answer the next question.

        Args:
            question: the question; it may lean on the one before it.
            monitor: receives the answer piece by piece as it is written.

        Returns:
            The answer; `asked` is the question that was made to stand alone, None where the
            question was asked as it is.

        Raises:
            BadInput: a question that does not fit the budget.
            BadFile: there is no index, or its encoder cannot be loaded.
            WriterFailed: the language model did not return a complete answer.
        """
        watch = Stopwatch()
        with watch.time("open"):
            request = self._request(question=question)
            asker = self._asker(request)
        with watch.time("rewrite"):
            asked = stand_alone(question, self.turns, asker.writer, asker.reader, asker.budget)
        answer = asker.ask(asked, monitor or Silent(), watch)
        changed = {"question": question, "asked": asked if asked != question else None}
        self.turns.append(answer.model_copy(update=changed))
        return self.turns[-1]
