"""Rows of a file that become any kind of Stripe's objects, with the sandbox as Stripe."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from following import Merchant

from tidegate import config
from tidegate.engine import preparing, pushes
from tidegate.push import plan
from tidegate.store import database, decisions, holds, records, runs

NAME = "wares"
Row = Mapping[str, object]


@dataclass
class Told:
    """What a run came to: the result, and the plan's rows as they were shown."""

    result: pushes.Result
    entries: dict[str, plan.Entry] = field(default_factory=dict)

    def counted(self) -> dict[str, int]:
        """The counters that are not zero, without `source`."""
        return {
            name: value
            for name, value in self.result.document().items()
            if type(value) is int and value and name not in ("requests", "source")
        }

    def changes(self, key: str = "1") -> dict[str, tuple[str | None, str]]:
        """Before and after of a row, by field."""
        return {path: (each.before, each.after) for path, each in self.entries[key].changes.items()}

    def text(self, key: str = "1") -> str:
        """What is said of a row."""
        return self.entries[key].text


@dataclass
class Wares:
    """A push of one kind of object, its file of rows, and its metadata database."""

    shop: Merchant
    folder: Path
    push: str
    key: str = "id"

    def rows(self, *rows: Row) -> None:
        """The model, anew; rows without a key are numbered from 1."""
        names = dict.fromkeys(name for row in rows for name in row)
        told = [{"id": f"{n}", **dict.fromkeys(names), **row} for n, row in enumerate(rows, 1)]
        text = "".join(json.dumps(row) + "\n" for row in told)
        (self.folder / "wares.jsonl").write_text(text)

    def configure(self, push: str) -> None:
        """Another mapping."""
        self.push = push

    def run(self, *rows: Row, **wish: Any) -> Told:
        """Push these rows, or those that are there, after all that happened can be read.

        `seen` is called between the plan and what it does.
        """
        seen = wish.pop("seen", lambda: None)
        if rows:
            self.rows(*rows)
        (self.folder / "tidegate.yaml").write_text(
            f'stripe: {{acme: {{api_key: sk_test_123456789, api_base: "{self.shop.url}", rate_limit: "off"}}}}\n'
            f"models: {{wares: {{file: wares.jsonl, key: {self.key}}}}}\n"
            f"pushes: {{{NAME}: {{model: wares, to: acme, {self.push}}}}}\n"
        )
        self.shop.later()
        told: list[Told] = []

        def looked(_: plan.Plan, entries: pushes.Rows) -> bool:
            told.append(Told(None, {each.key: each for each in entries()}))  # type: ignore[arg-type]  # below
            seen()
            return True

        job = preparing.job(config.load(self.folder / "tidegate.yaml"), NAME)
        with self.store() as store:
            wanted = pushes.Wish(**{"write": True, **wish})
            going = pushes.run(job, store, self.folder / "state", runs.new_id(), wanted, seen=looked)
            result = asyncio.run(going)
        entries = told[0].entries if told else {}
        return Told(result, entries)

    def plan(self, *rows: Row) -> Told:
        """Plan only."""
        return self.run(*rows, write=False)

    def quiet(self, source: int = 1, **more: int) -> None:
        """Another run finds nothing to write, and asks Stripe for no write."""
        self.shop.counted()
        found = self.run()
        wanted = more or {"unchanged": source}
        assert found.counted() == wanted, (found.counted(), found.entries, found.result.why)
        assert not [name for name in self.shop.counted() if name.startswith(("POST", "DELETE"))]

    def aged(self, seconds: float) -> None:
        """Let time pass in the metadata database: nobody writes, and what is open is that much older."""
        with self.store() as store:
            store.execute("UPDATE fences SET until = 0")
            store.execute(
                "UPDATE operations SET created_at = created_at - :s, first_sent_at = first_sent_at - :s, "
                "last_sent_at = last_sent_at - :s",
                {"s": seconds},
            )

    def choose(self, key: str, choice: str) -> None:
        """What a person says in the inbox."""
        with self.store() as store:
            decisions.choose(store, NAME, key, choice)

    def hold(self, key: str = "1") -> holds.Hold | None:
        """The hold of a row."""
        with self.store() as store:
            return holds.find(store, NAME, key)

    def history(self, key: str = "1") -> list[str]:
        """What `tidegate record` tells of a row: what, and the text."""
        with self.store() as store:
            return [f"{each.what} {each.text}".strip() for each in records.timeline(store, NAME, key)]

    @contextlib.contextmanager
    def store(self) -> Iterator[database.Database]:
        """The metadata database."""
        with contextlib.closing(database.open_database(f"sqlite:///{self.folder}/tidegate.db")) as store:
            yield store

    def truth(self, stream: str, id: str) -> dict[str, Any]:
        """An object as it really is."""
        return next(line["object"] for line in self.shop.truth(stream) if line["object"]["id"] == id)
