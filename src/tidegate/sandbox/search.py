"""Search: Stripe's query language over seven objects, eventually consistent.

`email:'a@b.c' AND metadata['plan']:'pro' AND -status:'canceled'`, `name~'acme'`, `created>1700000000`; AND and
OR cannot be mixed, as at Stripe.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate import catalog
from tidegate.sandbox import expand as expansions
from tidegate.sandbox import forms, objects, refusals

_CLAUSE = re.compile(
    r"""\s*(?P<minus>-)?(?P<field>[\w.]+)(\[(?P<mq>["'])(?P<key>(?:\\.|(?!(?P=mq)).)+)(?P=mq)\])?\s*
    (?P<op>:|~|>=|<=|>|<)\s*
    (?:(?P<quote>["'])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)|(?P<bare>null|-?\d+(?:\.\d+)?|true|false))""",
    re.VERBOSE,
)
_JOIN = re.compile(r"\s+(AND|OR)\s+|\s*\Z|\s+", re.IGNORECASE)
MOST_CLAUSES = 10

# https://docs.stripe.com/search#query-fields-for-customers and its neighbours.
FIELDS: dict[str, frozenset[str]] = {
    "customers": frozenset({"created", "email", "metadata", "name", "phone"}),
    "invoices": frozenset(
        {
            "created",
            "currency",
            "customer",
            "last_finalization_error_code",
            "last_finalization_error_type",
            "metadata",
            "number",
            "receipt_number",
            "status",
            "subscription",
            "total",
        }
    ),
    "payment_intents": frozenset({"amount", "created", "currency", "customer", "metadata", "status"}),
    "prices": frozenset({"active", "currency", "lookup_key", "metadata", "product", "type"}),
    "products": frozenset({"active", "description", "metadata", "name", "shippable", "url"}),
    "subscriptions": frozenset({"canceled_at", "created", "metadata", "status"}),
}
"""Of each resource that says so; charges have too many."""

CASED = frozenset({"description", "lookup_key", "name", "number", "receipt_number", "url"})
"""Fields of which the generated business has values in both cases."""
LOWER = frozenset({"currency", "email", "status", "type"})
"""Fields of which it has them in lower case only."""


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
) -> bytes:
    """A page of results; what was changed a moment ago is still what it was, and what is new is not there."""
    forms.refuse_unknown(params, ("query", "limit", "page", "expand"))
    if "query" not in params:
        raise refusals.missing_parameter("query")
    query = parse(str(params["query"]))
    limit = forms.integer("limit", params.get("limit", 10), 1, 100)
    wanted = forms.strings("expand", params["expand"]) if "expand" in params else []
    count = "total_count" in wanted
    own, deep = expansions.split(stream, [one for one in wanted if one != "total_count"], inside="data")
    start = _offset(params.get("page"))
    _refuse_fields(stream.name, query)
    found = _matching(book, stream.name, query, own)
    window = list(itertools.islice(found, start, None if count else start + limit + 1))
    shown = [expansions.apply(book, obj, deep) for obj in window[:limit]]
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
    book: objects.Book, stream: str, query: Query, expand: frozenset[str]
) -> Iterator[objects.Object]:
    # A search is blind to case, and the world's selections are not: they are asked where that is no matter.
    equal = {
        clause.field: clause.value.lower() if clause.field in LOWER else clause.value
        for clause in query.clauses
        if clause.op == ":" and not clause.negated and not clause.key and clause.value is not None
        if clause.field not in CASED
    }
    chosen, keys = book.narrowed(stream, {} if query.any else equal)
    stale = book.unsettled(stream)
    # What of the stale matches, newest first, stands between the others by its moment of creation.
    late = sorted(
        (obj for obj in stale.values() if obj is not None and query.matches(obj)),
        key=lambda obj: obj["created"],
    )
    for ref in book.descending(stream, None, None, None, chosen, keys):
        obj = book.show(stream, ref, expand)
        if obj["id"] in stale or not query.matches(obj):
            continue
        while late and late[-1]["created"] > obj["created"]:
            yield late.pop()
        yield obj
    yield from reversed(late)


def _refuse_fields(stream: str, query: Query) -> None:
    fields = FIELDS.get(stream)
    for clause in query.clauses:
        if fields is not None and clause.field not in fields:
            raise _wrong(f"Field `{clause.field}` is an unsupported search field for resource `{stream}`.")


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
