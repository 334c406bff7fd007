"""A conversation with an index: questions that may lean on those before them."""

from collections.abc import Callable

from ..rag.answer import Asker, Stopwatch
from ..rag.conversation import stand_alone
from ..rag.results import Answer
from ..requests.search import Ask
from ..text_safety import as_html, counted
from ..types import Monitor, Silent


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
