"""What a warehouse can say of a filter on paths inside JSON, of the documents as it stores and gives them back.

Postgres (`pushed_jsonb`), and DuckDB and MySQL (`pushed_json`) say it; every other warehouse leaves paths to the
stage.
"""

from __future__ import annotations

import abc
import re

from sqlglot import exp

from tidegate.shape import pushed_columns, questions, values
from tidegate.shape.pushed_columns import Said, among, cast
from tidegate.warehouse import sql

ZERO = exp.Literal.number(0)
INDEX = re.compile(r"[0-9]{1,9}", re.ASCII)
"""A step that leads into a list, where there is one."""


class Documents(abc.ABC):
    """Answers to questions about columns of JSON."""

    def __init__(self, dialect: sql.Dialect, bind: pushed_columns.Bind) -> None:
        self._dialect, self._name, self._bind = dialect, dialect.name, bind

    def answer(self, question: questions.Question) -> Said | None:
        """None where the warehouse cannot say it."""
        if not (question.steps or question.facet == "state"):
            return None
        found = self.value(question)
        return None if found is None else self.said(question, found)

    def said(self, question: questions.Question, found: exp.Expr) -> Said | None:
        """What is said of a value that was found."""
        match question.facet:
            case "state":
                return self.state(question, found)
            case "truth":
                return self.truth(question, found)
            case "text":
                return self.text(question, found)
            case "number":
                return self.number(question, found)
            case "items":
                return self.items(question, found)
            case _:
                return None

    @abc.abstractmethod
    def value(self, question: questions.Question) -> exp.Expr | None:
        """The JSON value at the path, NULL where there is none; None for a path that means something else there."""

    @abc.abstractmethod
    def state(self, question: questions.Question, found: exp.Expr) -> Said:
        """How much is there."""

    @abc.abstractmethod
    def text(self, question: questions.Question, found: exp.Expr) -> Said | None:
        """Texts as they are, numbers and booleans as they are written."""

    @abc.abstractmethod
    def truth(self, question: questions.Question, found: exp.Expr) -> Said:
        """Booleans, and texts that name one."""

    @abc.abstractmethod
    def number(self, question: questions.Question, found: exp.Expr) -> Said:
        """Numbers, and texts that are one."""

    def items(self, question: questions.Question, found: exp.Expr) -> Said | None:
        """Elements of lists: whether they hold a word is not known, unless overridden."""
        if question.ask != "contains":
            return None
        lists = self.is_kind(found, "array")
        return Said(lists, lists)

    @abc.abstractmethod
    def is_kind(self, found: exp.Expr, *kinds: str) -> exp.Expr:
        """Is the value of one of these kinds, as the warehouse calls them?"""

    def compared(self, question: questions.Question, seen: exp.Expr) -> exp.Expr | None:
        """A text against the question's words, byte by byte."""
        words = question.words
        if question.ask in ("contains", "starts with", "ends with"):
            return pushed_columns.part(self._name, question.ask, seen, words[0], self._bind)
        given = [pushed_columns.text(self._name, word, self._bind) for word in words]
        left = pushed_columns.text_order(self._name, seen)
        return (
            among(left, given) if question.ask == "in" else pushed_columns.ordered(question.ask, left, given)
        )

    def names(self, question: questions.Question) -> list[exp.Expr]:
        """The names of booleans that are asked for."""
        return [exp.Literal.string(str(given).lower()) for given in question.given]

    def decimals(self, question: questions.Question, number: exp.Expr) -> exp.Expr:
        """A decimal against the question's spans."""
        kind = f"DECIMAL(38, {values.PLACES})"
        return pushed_columns.spanned(question, number, lambda text: cast(self._bind(text), kind))
