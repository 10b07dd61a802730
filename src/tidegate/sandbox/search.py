"""Search: Stripe's query language over seven objects, eventually consistent.

`email:'a@b.c' AND metadata['plan']:'pro' AND -status:'canceled'`, `name~'acme'`, `created>1700000000`; AND and
OR cannot be mixed, as at Stripe.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate import catalog
from tidegate.sandbox import expand as expansions
from tidegate.sandbox import forms, objects, refusals, shelves

_CLAUSE = re.compile(
    r"""\s*(?P<minus>-)?(?P<field>[\w.]+)(\[(?P<mq>["'])(?P<key>(?:\\.|(?!(?P=mq)).)+)(?P=mq)\])?\s*
    (?P<op>:|~|>=|<=|>|<)\s*
    (?:(?P<quote>["'])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)|(?P<bare>null|-?\d+(?:\.\d+)?|true|false))""",
    re.VERBOSE,
)
_JOIN = re.compile(r"\s+(AND|OR)\s+|\s*\Z|\s+", re.IGNORECASE)
MOST_CLAUSES = 10


@dataclass(frozen=True)
class Clause:
    """One comparison."""

    field: str
    key: str
    op: str
    value: str | None
    negated: bool


@dataclass(frozen=True)
class Query:
    """Clauses joined by all or any."""

    clauses: tuple[Clause, ...]
    any: bool

    def matches(self, obj: objects.Object) -> bool:
        """Does the object satisfy it?"""
        results = (_holds(clause, obj) for clause in self.clauses)
        return any(results) if self.any else all(results)


def parse(text: str) -> Query:
    """Read a query; a mistake is refused with its position."""
    clauses: list[Clause] = []
    joins: set[str] = set()
    position = 0
    while True:
        found = _CLAUSE.match(text, position)
        if not found:
            raise _wrong(f"We were unable to parse your search query near position {position}.")
        quoted = found["text"]
        value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else found["bare"]
        if quoted is None and value == "null":
            value = None
        key = re.sub(r"\\(.)", r"\1", found["key"] or "")
        if key and found["field"] != "metadata":
            raise _wrong(f"Field `{found['field']}` is an unsupported search field for a key.")
        if found["op"] == "~" and len(value or "") < 3:
            raise _wrong("A substring search needs at least 3 characters.")
        clauses.append(Clause(found["field"], key, found["op"], value, bool(found["minus"])))
        position = found.end()
        join = _JOIN.match(text, position)
        if join is None:
            raise _wrong(f"We were unable to parse your search query near position {position}.")
        position = join.end()
        if position >= len(text):
            break
        joins.add((join[1] or "AND").upper())
    if len(joins) > 1:
        raise _wrong("Search queries cannot mix AND and OR.")
    if len(clauses) > MOST_CLAUSES:
        raise _wrong(f"Search queries can have up to {MOST_CLAUSES} clauses.")
    return Query(tuple(clauses), "OR" in joins)


def page(
    book: objects.Book,
    stream: catalog.Stream,
    params: forms.Tree,
    url: str,
    settled: Callable[[objects.Object], bool],
) -> bytes:
    """A page of results; `settled` says whether an object has reached the index yet."""
    forms.refuse_unknown(params, ("query", "limit", "page", "expand"))
    if "query" not in params:
        raise refusals.missing_parameter("query")
    query = parse(str(params["query"]))
    limit = forms.integer("limit", params.get("limit", 10), 1, 100)
    wanted = forms.strings("expand", params["expand"]) if "expand" in params else []
    count = "total_count" in wanted
    own, deep = expansions.split(stream, [one for one in wanted if one != "total_count"], inside="data")
    start = _offset(params.get("page"))
    refs = _matching(book, stream.name, query, settled)
    window = list(itertools.islice(refs, start, None if count else start + limit + 1))
    shown = [expansions.apply(book, book.show(stream.name, ref, own), deep) for ref in window[:limit]]
    more = len(window) > limit
    answer: dict[str, Any] = {
        "object": "search_result",
        "data": shown,
        "has_more": more,
        "next_page": base64.urlsafe_b64encode(b"%d" % (start + limit)).decode() if more else None,
        "url": url,
    }
    if count:
        answer["total_count"] = start + len(window)
    return msgspec.json.encode(answer)


def _matching(
    book: objects.Book, stream: str, query: Query, settled: Callable[[objects.Object], bool]
) -> itertools.filterfalse[shelves.Ref]:
    equal = {
        clause.field: clause.value
        for clause in query.clauses
        if clause.op == ":" and not clause.negated and not clause.key and clause.value is not None
    }
    chosen = book.world.select(stream, equal) if equal and not query.any else None
    if chosen is not None and book.touched(stream):
        chosen = sorted({*chosen, *(ordinal for above, ordinal in book.shelf(stream).base if above is None)})

    def fails(ref: shelves.Ref) -> bool:
        obj = book.show(stream, ref)
        return not settled(obj) or not query.matches(obj)

    return itertools.filterfalse(fails, book.descending(stream, None, None, None, chosen))


def _holds(clause: Clause, obj: objects.Object) -> bool:
    return _compare(clause, obj) != clause.negated


def _compare(clause: Clause, obj: objects.Object) -> bool:
    found: Any = obj
    if clause.key:
        found = (obj.get("metadata") or {}).get(clause.key)
    else:
        for part in clause.field.split("."):
            found = found.get(part) if isinstance(found, dict) else None
    if clause.value is None:
        return found is None
    if found is None:
        return False
    if isinstance(found, bool):
        return str(found).lower() == clause.value.lower()
    if isinstance(found, (int, float)):
        try:
            number = float(clause.value)
        except ValueError:
            return False
        match clause.op:
            case ">":
                return found > number
            case ">=":
                return found >= number
            case "<":
                return found < number
            case "<=":
                return found <= number
        return found == number
    text = str(found.get("id", "") if isinstance(found, dict) else found).casefold()
    return clause.value.casefold() in text if clause.op == "~" else text == clause.value.casefold()


def _offset(token: object) -> int:
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(str(token)))
    except ValueError:
        raise refusals.invalid("page", "Invalid page token; take it from next_page.") from None


def _wrong(message: str) -> refusals.Refusal:
    return refusals.invalid("query", message + " See https://stripe.com/docs/search#query-structure.")
