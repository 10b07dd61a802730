"""A business that changes while a warehouse follows it: what a merchant does, and whether both still agree."""

from __future__ import annotations

import contextlib
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulling import KEY, Stripe, pull, query

from tidegate.pull import report
from tidegate.sandbox import forms

_COPIES = itertools.count()


@dataclass(frozen=True)
class Merchant(Stripe):
    """The sandbox as its merchant sees it, besides as a test does."""

    def ask(self, method: str, path: str, params: dict[str, Any] | None = None, *, account: str = "") -> Any:
        """One request of the merchant's; an answer that is an error raises."""
        form = forms.encode_form(params or {})
        url = f"{self.url}{path}" + (f"?{form}" if form and method != "POST" else "")
        headers = {"Authorization": f"Bearer {KEY}"} | ({"Stripe-Account": account} if account else {})
        request = urllib.request.Request(
            url, data=form.encode() if method == "POST" else None, headers=headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()}") from None

    def get(self, path: str, **params: Any) -> Any:
        """Read something."""
        return self.ask("GET", path, params)

    def make(self, path: str, *, account: str = "", **params: Any) -> Any:
        """Create or change something."""
        return self.ask("POST", path, params, account=account)

    def delete(self, path: str, *, account: str = "") -> Any:
        """Delete something."""
        return self.ask("DELETE", path, account=account)

    def ids(self, stream: str) -> list[str]:
        """The ids of everything that a stream has."""
        return [line["object"]["id"] for line in self.truth(stream)]

    def later(self, seconds: float = 10) -> None:
        """Let time pass; after ten seconds every event can be read that is not late."""
        self.control("clock", {"advance": seconds})

    @contextlib.contextmanager
    def second(self) -> Iterator[int]:
        """Everything inside happens within one second."""
        now = self.control("clock", {"stop": True})["now"]
        try:
            yield int(now)
        finally:
            self.control("clock", {"start": True})

    def counted(self) -> dict[str, int]:
        """Requests by endpoint since the last time."""
        found: dict[str, int] = self.control("stats")["endpoints"]
        self.control("stats/reset", {})
        return found


def rows(file: Path, table: str, where: str = "true") -> list[dict[str, Any]]:
    """The rows of a table by id."""
    return query(file, f"select * from stripe.{table} where {where} order by id")


def ids(file: Path, table: str) -> list[str]:
    """The ids of the rows that are not deleted."""
    return [row["id"] for row in rows(file, table, "_deleted_at is null")]


def gone(file: Path, table: str) -> list[str]:
    """The ids of the rows that are marked as deleted."""
    return [row["id"] for row in rows(file, table, "_deleted_at is not null")]


def one(file: Path, table: str, id: str) -> dict[str, Any]:
    """The one row of an id."""
    (row,) = rows(file, table, f"id = '{id}'")
    return row


def live(file: Path, *streams: str) -> dict[str, list[dict[str, Any]]]:
    """What is not deleted, by stream, without what differs from pull to pull."""
    found = {}
    for name in streams:
        lines = query(
            file,
            f"select t::json as row from (select * exclude (_version, _synced_at) from stripe.{name} "
            "where _deleted_at is null) t",
        )
        read = [json.loads(line["row"]) for line in lines]
        found[name] = sorted(read, key=lambda row: (row["id"], row.get("_parent_id")))
    return found


def follow(stripe: Stripe, file: Path, *streams: str, **options: Any) -> report.Result:
    """Pull, all well."""
    result = pull(stripe, file, *streams, **options)
    assert result.end is None, result.end
    assert result.status == "ok", [(o.stream, o.status, o.error) for o in result.outcomes if o.error]
    return result


def agrees(stripe: Stripe, file: Path, *streams: str, **options: Any) -> None:
    """The rows that are not deleted are just what a pull into an empty warehouse brings."""
    anew = file.parent / f"anew-{next(_COPIES)}.duckdb"
    follow(stripe, anew, *streams, **options)
    found, expected = live(file, *streams), live(anew, *streams)
    for name in streams:
        assert found[name] == expected[name], name
