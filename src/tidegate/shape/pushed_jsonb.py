"""What Postgres says of paths inside jsonb: numbers are numerics there, and of equal keys it keeps the last."""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp

from tidegate.shape import pushed_columns, pushed_documents, questions, values
from tidegate.shape.pushed_columns import Said, among, called, cast, named, text_order

_NEARLY_INDEX = re.compile(r"\s*[+-]?[0-9]+\s*")


class Postgres(pushed_documents.Documents):
    """Columns of jsonb."""

    def value(self, question: questions.Question) -> exp.Expr | None:
        column = named(self._dialect, question.column)
        if any("\0" in step or _odd(step) for step in question.steps):
            return None
        return self._inside("JSONB_EXTRACT_PATH", question) if question.steps else column

    def _inside(self, function: str, question: questions.Question) -> exp.Expr:
        steps = [cast(self._bind(step), "TEXT") for step in question.steps]
        return called(function, named(self._dialect, question.column), *steps)

    def is_kind(self, found: exp.Expr, *kinds: str) -> exp.Expr:
        return among(called("JSONB_TYPEOF", found), [exp.Literal.string(kind) for kind in kinds])

    def state(self, question: questions.Question, found: exp.Expr) -> Said:
        missing = exp.Is(this=found, expression=exp.Null())
        if question.ask == "exists":
            return Said(exp.Not(this=missing))
        none = ["null"] if question.ask == "is null" else ["null", '""', "[]", "{}"]
        written = among(cast(found, "TEXT"), [exp.Literal.string(each) for each in none])
        return Said(exp.or_(missing, written))

    def _shown(self, question: questions.Question, found: exp.Expr) -> exp.Expr:
        scalar = self.is_kind(found, "string", "number", "boolean")
        return exp.Case(ifs=[exp.If(this=scalar, true=self._inside("JSONB_EXTRACT_PATH_TEXT", question))])

    def text(self, question: questions.Question, found: exp.Expr) -> Said | None:
        if question.ignore_case or any("\0" in word for word in question.words):
            return None
        holds = self.compared(question, self._shown(question, found))
        return None if holds is None else Said(holds)

    def truth(self, question: questions.Question, found: exp.Expr) -> Said:
        seen = called("BTRIM", self._shown(question, found), self._bind(values.BLANKS))
        lower = called("LOWER", text_order(self._name, seen))
        return Said(among(lower, self.names(question)))

    def number(self, question: questions.Question, found: exp.Expr) -> Said:
        shown = self._inside("JSONB_EXTRACT_PATH_TEXT", question)
        trimmed = called("BTRIM", shown, self._bind(values.BLANKS))
        short = exp.LTE(this=called("LENGTH", trimmed), expression=exp.Literal.number(values.LONGEST))
        numeral = exp.RegexpLike(this=trimmed, expression=self._bind(f"^(?:{values.NUMERAL})$"))
        number = exp.Case(
            ifs=[
                exp.If(this=self.is_kind(found, "number"), true=cast(shown, "NUMERIC")),
                exp.If(
                    this=exp.and_(self.is_kind(found, "string"), short, numeral),
                    true=cast(trimmed, "NUMERIC"),
                ),
            ]
        )
        return Said(self.decimals(question, number))

    def items(self, question: questions.Question, found: exp.Expr) -> Said | None:
        if question.ignore_case or "\0" in question.words[0]:
            return None
        tree = sqlglot.parse_one(_ELEMENTS, read="postgres")
        given = {"found": found, "word": pushed_columns.text(self._name, question.words[0], self._bind)}
        return Said(
            tree.transform(
                lambda node: (
                    given[node.name].copy() if isinstance(node, exp.Column) and node.name in given else node
                )
            )
        )


_ELEMENTS = """
EXISTS (
    SELECT 1 FROM JSONB_ARRAY_ELEMENTS(CASE WHEN JSONB_TYPEOF(found) = 'array' THEN found ELSE '[]' END) AS e(item)
    WHERE JSONB_TYPEOF(item) IN ('string', 'number', 'boolean') AND item #>> '{}' = word
)
"""


def _odd(step: str) -> bool:
    """Would Postgres take it for another place in a list than the stage does?"""
    return _NEARLY_INDEX.fullmatch(step) is not None and pushed_documents.INDEX.fullmatch(step) is None
