"""From rows to a plan, in memory: what the tests of targets and plans begin with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tidegate import config
from tidegate.catalog import writes
from tidegate.push import compare, diff, judging, mapping, models, plan, targets, workbook
from tidegate.sources import base

KEY = "id"


def push(**told: Any) -> config.Push:
    """A push of customers by their e-mail, but for what is told."""
    usual: dict[str, Any] = {
        "model": "accounts",
        "to": "acme",
        "object": "customer",
        "match": {"email": "email"},
        "fields": {"name": "name", "metadata.plan": "plan"},
    }
    return config.Push.model_validate(usual | told)


class Rows:
    """A source that has these rows."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = list(rows)

    def read(self, query: base.Query | str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """All of them, every value as text."""
        del query, parameters
        names = list(dict.fromkeys(name for row in self._rows for name in row)) or [
            KEY,
            "email",
            "name",
            "plan",
        ]
        schema = pa.schema([(name, pa.string()) for name in names])
        yield pa.RecordBatch.from_pylist([dict(row) for row in self._rows], schema)


def customer(id: str, email: str | None = None, name: str | None = None, **more: Any) -> dict[str, Any]:
    """A customer as Stripe answers it."""
    usual = {"id": id, "object": "customer", "created": 1, "email": email, "name": name, "metadata": {}}
    return {**usual, "phone": None, "description": None, "address": None, **more}


class Objects:
    """A mirror of these objects; one that is deleted has `deleted`, as Stripe answers it."""

    caught_up_since = 1_000.0

    def __init__(self, of: writes.Object, found: Sequence[Mapping[str, Any]]) -> None:
        self._of, self._found = of, {each["id"]: each for each in found}

    def rows(self, fields: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All of them."""
        told = []
        for each in self._found.values():
            shown = [
                each["id"] if field == "id" else compare.shown(self._of, each, field) for field in fields
            ]
            texts = {f"value_{n}": value if isinstance(value, str) else None for n, value in enumerate(shown)}
            gone = bool(each.get("deleted"))
            told.append({"id": each["id"], "created": each.get("created", 1), "gone": gone, **texts})
        [empty] = targets.Nothing().rows(fields)
        yield pa.RecordBatch.from_pylist(told, empty.schema)

    def objects(self, ids: Sequence[str]) -> Mapping[str, compare.Live]:
        """Those that live."""
        return {id: self._found[id] for id in ids if id in self._found and not self._found[id].get("deleted")}

    def find_op(self, operation: str) -> str | None:
        """The object that an operation made."""
        marked = (id for id, each in self._found.items() if each["metadata"].get(targets.MARK) == operation)
        return next(marked, None)


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan as the tests look at it."""

    entries: dict[str, plan.Entry]
    counts: plan.Counts
    guards: tuple[str, ...]
    found: dict[targets.Found, int]
    requests: int

    def verdicts(self) -> dict[str, str]:
        """What becomes of each row, with the kind of a hold behind a colon."""
        return {key: f"{each.verdict}:{each.kind}".rstrip(":") for key, each in self.entries.items()}


@dataclass(frozen=True, slots=True)
class Before:
    """What is known of a push: rows and fields that were acknowledged, and the links of rows."""

    fields: Mapping[str, Mapping[str, str]]
    links: Mapping[str, str]
    gone: Mapping[str, str]

    @property
    def acknowledged(self) -> list[pa.RecordBatch]:
        """As the store has it; under no hash that a mapping makes, so that fields decide."""
        rows = [
            {"key": key, "hash": "old", "fields": json.dumps(dict(told))} for key, told in self.fields.items()
        ]
        return [pa.RecordBatch.from_pylist(rows, diff.ACKNOWLEDGED)]

    @property
    def linked(self) -> list[pa.RecordBatch]:
        """As the store has it."""
        rows = [
            {"key": key, "target": id, "created": True, "gone": self.gone.get(key, "")}
            for key, id in self.links.items()
        ]
        return [pa.RecordBatch.from_pylist(rows, targets.LINKS)]


def before(
    fields: Mapping[str, Mapping[str, str]] | None = None,
    links: Mapping[str, str] | None = None,
    gone: Mapping[str, str] | None = None,
) -> Before:
    """What is known; nothing by default."""
    return Before(fields or {}, links or {}, gone or {})


def planned(
    rows: Sequence[Mapping[str, Any]],
    objects: Sequence[Mapping[str, Any]] = (),
    told: config.Push | None = None,
    known: Before | None = None,
    *,
    chosen: Mapping[str, str] | None = None,
    sides: Mapping[str, plan.Side] | None = None,
    paused: Mapping[str, plan.Paused] | None = None,
) -> Planned:
    """The plan for some rows, where Stripe has some objects."""
    wanted_push, known = told or push(), known or before()
    of = writes.find(wanted_push.object)
    assert of is not None
    mirror = Objects(of, objects)
    with contextlib.ExitStack() as stack:
        book = stack.enter_context(workbook.in_memory())
        taken = models.snapshot(Rows(rows), "select", [KEY], book)  # type: ignore[arg-type]  # it only reads
        wanted = mapping.map_rows(book, taken, "people", wanted_push, of)
        counts = diff.diff(book, taken, wanted, known.acknowledged)
        found = targets.resolve(book, wanted, wanted_push, mirror, known.linked, chosen)
        told_counts, guards, requests, _ = judging.judge(
            book,
            wanted,
            counts,
            wanted_push,
            of,
            mirror,
            paused=paused,
            chosen=sides,
        )
        entries = {each.key: each for each in plan.entries(book)}
    return Planned(entries, told_counts, guards, found, requests)
