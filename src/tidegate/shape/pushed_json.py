"""What DuckDB, MariaDB and MySQL say of paths inside JSON, which the first two keep as the text that it was.

Their own paths lead to the first of equal keys; the last counts. So most documents are asked by such a path, and
those in which it may be wrong in a longer way. DuckDB takes numbers with a point for doubles and rewrites them,
MariaDB misses keys that are written with escapes: of such documents they are in doubt.
"""

from __future__ import annotations

import abc
import json
import re

from sqlglot import exp

from tidegate.shape import questions, values
from tidegate.shape.pushed_columns import FALSE, Said, among, called, cast, named
from tidegate.shape.pushed_documents import INDEX, ZERO, Documents

DEEP = 3
"""Steps of a path at most: each says the one before several times."""

_NAME = re.compile(r'[^"\\*\x00-\x1f-][^"\\*\x00-\x1f]*')
"""What a path of both can hold."""
_NUMBERS = "0123456789+-.eE"
"""The characters of numbers in JSON."""
_SMALL = re.compile(r"-?[1-9][0-9]{0,17}", re.ASCII)
"""Whole numbers that are written in one way only."""
_PLAIN = rf"[+-]?[0-9]{{1,{values.DIGITS}}}([.][0-9]{{1,{values.PLACES}}})?"
"""Numbers that a column of decimals holds as they are."""
_ANY_NUMBER = r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?"
_ODD = re.compile(r'["\\\x00-\x1f]')
"""What no name in JSON has without an escape."""
_ESCAPED = r'\\.[^"\\]*"[ \t\r\n]*:'
"""A name with an escape."""


class Written(Documents):
    """Documents whose warehouse has paths of its own that are right for most of them."""

    text_type: str
    """What the warehouse calls text."""
    respelled: str
    """A regular expression: a name with an escape that no name needs."""

    def answer(self, question: questions.Question) -> Said | None:
        """A short way for most documents, a longer one for the others."""
        said = super().answer(question)
        path = _path(question.steps)
        if said is None or path is None:
            return said
        column = named(self._dialect, question.column)
        quick = self.said(question, called("JSON_EXTRACT", column, self._bind(path)))
        assert quick is not None, "It was said a moment ago."
        is_simple = self._is_simple(question)
        holds = _either(is_simple, quick.holds, said.holds)
        if quick.doubt is None or said.doubt is None:
            return Said(holds)
        if said.doubt is said.holds:
            return Said(holds, holds)
        return Said(holds, _either(is_simple, quick.doubt, said.doubt))

    def _is_simple(self, question: questions.Question) -> exp.Expr:
        """Does the warehouse's own path, which may go to the first of equal keys, lead to what is meant?

        It does where no name of the path may be there with escapes, and none is there twice.
        """
        text = cast(named(self._dialect, question.column), self.text_type)
        parts: list[exp.Expr] = [exp.Not(this=self.has_escapes(question))]
        parts += [
            exp.Not(this=exp.Like(this=text, expression=self._bind(f'%"{step}"%"{step}"%')))
            for step in question.steps
        ]
        return exp.and_(*parts)

    def has_escapes(self, question: questions.Question) -> exp.Expr:
        """Is a name in a document written with escapes that one of the path may have?"""
        text = cast(named(self._dialect, question.column), self.text_type)
        backslash = exp.GT(this=called("INSTR", text, self._bind("\\")), expression=ZERO)
        pattern = _ESCAPED if any(_ODD.search(step) for step in question.steps) else self.respelled
        return _either(backslash, self.is_like(text, pattern), FALSE.copy())

    @abc.abstractmethod
    def is_like(self, text: exp.Expr, pattern: str) -> exp.Expr:
        """Is a regular expression found in a text?"""

    @abc.abstractmethod
    def member(self, found: exp.Expr, step: str) -> exp.Expr:
        """The last member of an object that has a name, NULL where there is none."""

    def value(self, question: questions.Question) -> exp.Expr | None:
        """The value at a path, step by step."""
        if len(question.steps) > DEEP:
            return None
        found = named(self._dialect, question.column)
        for step in question.steps:
            member = self.member(found, step)
            if INDEX.fullmatch(step):
                element = called("JSON_EXTRACT", found, exp.Literal.string(f"$[{int(step)}]"))
                member = _either(self.is_kind(found, "array"), element, member)
            found = member
        return found


class DuckDB(Written):
    """JSON as text, whose numbers are shown as doubles."""

    text_type = "VARCHAR"
    respelled = r'\\[u/]([^"\\]|\\.)*"[ \t\r\n]*:'

    def member(self, found: exp.Expr, step: str) -> exp.Expr:
        keys = called("JSON_KEYS", found)
        backwards = called("LIST_POSITION", called("LIST_REVERSE", keys), self._bind(step))
        count = exp.Add(this=called("LEN", keys), expression=exp.Literal.number(1))
        every = called("JSON_EXTRACT", found, exp.Literal.string("$.*"))
        return called("LIST_EXTRACT", every, exp.Sub(this=count, expression=backwards))

    def is_kind(self, found: exp.Expr, *kinds: str) -> exp.Expr:
        names = {"string": "VARCHAR"}
        told = [exp.Literal.string(names.get(kind, kind.upper())) for kind in kinds]
        return among(_inside("JSON_TYPE", found), told)

    def _shown(self, found: exp.Expr) -> exp.Expr:
        text = _inside("JSON_EXTRACT_STRING", found)
        return exp.Case(
            ifs=[exp.If(this=exp.Not(this=self.is_kind(found, "object", "array", "null")), true=text)]
        )

    def is_like(self, text: exp.Expr, pattern: str) -> exp.Expr:
        return called("REGEXP_MATCHES", text, self._bind(pattern))

    def _is_number(self, found: exp.Expr) -> exp.Expr:
        return exp.Not(this=self.is_kind(found, "string", "boolean", "object", "array", "null"))

    def state(self, question: questions.Question, found: exp.Expr) -> Said:
        missing = exp.Is(this=found, expression=exp.Null())
        if question.ask == "exists":
            return Said(exp.Not(this=missing))
        none = [missing, self.is_kind(found, "null")]
        if question.ask == "is empty":
            none += [
                exp.EQ(this=self._shown(found), expression=exp.Literal.string("")),
                exp.and_(
                    self.is_kind(found, "array"),
                    exp.EQ(this=_inside("JSON_ARRAY_LENGTH", found), expression=ZERO),
                ),
                exp.and_(
                    self.is_kind(found, "object"),
                    exp.EQ(this=called("LEN", _inside("JSON_KEYS", found)), expression=ZERO),
                ),
            ]
        return Said(exp.or_(*none))

    def text(self, question: questions.Question, found: exp.Expr) -> Said | None:
        seen = self._shown(found)
        holds = self.compared(question, called("LOWER", seen) if question.ignore_case else seen)
        if holds is None or not any(_depends(question.ask, word) for word in question.words):
            return None if holds is None else Said(holds)
        return Said(holds, self._is_number(found))

    def truth(self, question: questions.Question, found: exp.Expr) -> Said:
        seen = called("TRIM", self._shown(found), self._bind(values.BLANKS))
        return Said(among(called("LOWER", seen), self.names(question)))

    def number(self, question: questions.Question, found: exp.Expr) -> Said:
        trimmed = called("TRIM", self._shown(found), self._bind(values.BLANKS))
        plain = self.is_like(trimmed, f"^(?:{_PLAIN})$")
        number = exp.Case(ifs=[exp.If(this=plain, true=cast(trimmed, f"DECIMAL(38, {values.PLACES})"))])
        other = self.is_like(trimmed, f"^(?:{values.NUMERAL})$")
        doubt = exp.or_(
            self.is_kind(found, "double"),
            exp.and_(other, exp.Not(this=plain)),
        )
        return Said(self.decimals(question, number), doubt)


class MySQL(Written):
    """JSON of MariaDB, which is text, and of MySQL."""

    text_type = "CHAR"
    # So many escapes in one text are taken for a name: to look for the end of each would take it for ever.
    respelled = r'\\[u/][^"\\]*+(\\.[^"\\]*+){0,100}+("[ \t\r\n]*:|\\)'

    def value(self, question: questions.Question) -> exp.Expr | None:
        """A path of MariaDB's leads to no name that begins with a minus."""
        return None if any(step.startswith("-") for step in question.steps) else super().value(question)

    def member(self, found: exp.Expr, step: str) -> exp.Expr:
        # The same path twice leads to all equal keys, each of them twice.
        path = "$." + json.dumps(step, ensure_ascii=False)
        every = called("JSON_EXTRACT", found, self._bind(path), self._bind(path))
        last = exp.Sub(this=called("JSON_LENGTH", every), expression=exp.Literal.number(1))
        return called(
            "JSON_EXTRACT", every, called("CONCAT", exp.Literal.string("$["), last, exp.Literal.string("]"))
        )

    def answer(self, question: questions.Question) -> Said | None:
        said = super().answer(question)
        if said is None or not question.steps:
            return said
        # MariaDB compares the names in a path with keys as they are written: it misses one that has an escape.
        escaped = self.has_escapes(question)
        if said.doubt is said.holds:
            holds = exp.or_(said.holds, escaped)
            return Said(holds, holds)
        return Said(said.holds, escaped if said.doubt is None else exp.or_(said.doubt, escaped))

    def is_kind(self, found: exp.Expr, *kinds: str) -> exp.Expr:
        return among(called("JSON_TYPE", found), [exp.Literal.string(kind.upper()) for kind in kinds])

    def _shown(self, found: exp.Expr) -> exp.Expr:
        none = self.is_kind(found, "object", "array", "null")
        return exp.Case(
            ifs=[exp.If(this=exp.Not(this=none), true=cast(called("JSON_UNQUOTE", found), "CHAR"))]
        )

    def state(self, question: questions.Question, found: exp.Expr) -> Said:
        missing = exp.Is(this=found, expression=exp.Null())
        if question.ask == "exists":
            return Said(exp.Not(this=missing))
        none = [missing, self.is_kind(found, "null")]
        if question.ask == "is empty":
            empty = exp.EQ(this=called("JSON_LENGTH", found), expression=ZERO)
            none += [
                exp.EQ(this=called("LENGTH", self._shown(found)), expression=ZERO),
                exp.and_(self.is_kind(found, "array", "object"), empty),
            ]
        return Said(exp.or_(*none))

    def text(self, question: questions.Question, found: exp.Expr) -> Said | None:
        if question.ignore_case:
            return None
        holds = self.compared(question, self._shown(found))
        return None if holds is None else Said(holds)

    def _trimmed(self, found: exp.Expr) -> exp.Expr:
        blanks = self._bind(f"^[{values.BLANKS}]+|[{values.BLANKS}]+$")
        return called("REGEXP_REPLACE", self._shown(found), blanks, exp.Literal.string(""))

    def is_like(self, text: exp.Expr, pattern: str) -> exp.Expr:
        # The two servers have different names for all that sqlglot knows.
        return exp.GT(this=called("REGEXP_INSTR", text, self._bind(pattern)), expression=ZERO)

    def truth(self, question: questions.Question, found: exp.Expr) -> Said:
        seen = called("LOWER", self._trimmed(found))
        return Said(among(cast(seen, "BINARY"), self.names(question)))

    def number(self, question: questions.Question, found: exp.Expr) -> Said:
        trimmed = self._trimmed(found)
        plain = self.is_like(trimmed, f"^(?:{_PLAIN})$")
        number = exp.Case(ifs=[exp.If(this=plain, true=cast(trimmed, f"DECIMAL(38, {values.PLACES})"))])
        other = self.is_like(trimmed, f"^(?:{_ANY_NUMBER})$")
        return Said(self.decimals(question, number), exp.and_(other, exp.Not(this=plain)))


def _path(steps: tuple[str, ...]) -> str | None:
    """A path through objects, as DuckDB and MySQL write it; None for names that it cannot hold, and for numbers."""
    if not steps or any(INDEX.fullmatch(step) or not _NAME.fullmatch(step) for step in steps):
        return None
    return "$" + "".join(f'."{step}"' for step in steps)


def _inside(function: str, found: exp.Expr) -> exp.Expr:
    """A function of DuckDB's of a value; one that a path leads to is not made first."""
    if isinstance(found, exp.Anonymous) and found.name == "JSON_EXTRACT":
        return called(function, *found.expressions)
    return called(function, found, exp.Literal.string("$"))


def _either(test: exp.Expr, one: exp.Expr, other: exp.Expr) -> exp.Expr:
    return exp.Case(ifs=[exp.If(this=test, true=one)], default=other)


def _depends(ask: str, word: str) -> bool:
    """Does it depend on how a number is written whether its text satisfies the question?"""
    if ask == "in":
        return bool(word) and (word[0] == "-" or word[0].isdigit()) and not _SMALL.fullmatch(word)
    if ask in ("contains", "starts with", "ends with"):
        return bool(word) and all(letter in _NUMBERS for letter in word)
    return bool(word) and "-" <= word[0] <= "9"
