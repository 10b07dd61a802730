"""Rows of forgotten customers, cleaned on their way into the warehouse.

A customer is forgotten for good: `forgotten/<account>/<customer>` in the warehouse's state says since when, and
`forgotten/<account>/<customer>/<stream>/<id>` lists ids of what was theirs. By which references a row is theirs is
told in `ownership`. A row that names another customer is never touched. What a row of theirs names is only supposed
to be theirs until its own row was seen and named nobody else; before that, nothing that refers to it is theirs on
its account. How the rows that are there already are cleaned is told in `erase`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import catalog
from tidegate.privacy import ownership, personal
from tidegate.rows import columns
from tidegate.warehouse import base

STATE = "forgotten/"
"""State keys of forgotten customers."""

UNCLEAN = "unclean/"
"""State keys of accounts of which something was learnt that earlier rows are not cleaned by yet."""

ANYWHERE = "*"
"""Stands for the account of customers of whom no account had anything when they were forgotten."""

CUSTOMER = re.compile(r"cus_[A-Za-z0-9_]{1,250}")

SUPPOSED = "supposed:"
"""Begins the stream's name in the state where ids are only supposed to be of theirs."""

OTHERS = "others:"
"""Begins it where they were taken for theirs and turned out to be another's."""


def prefixes(account: str) -> tuple[str, str]:
    """Under which keys the state tells who of an account is forgotten."""
    return f"{STATE}{account}/", f"{STATE}{ANYWHERE}/"


def scrubber(state: Mapping[str, str], account: str) -> Scrubber | None:
    """What cleans an account's rows, or None where nobody is forgotten; `state` may hold other keys too."""
    found = Scrubber(account)
    others: list[tuple[str, dict[str, str]]] = []
    for key, value in state.items():
        if key.startswith(prefixes(account)):
            _, _, customer, *what = key.split("/")
            ids = dict.fromkeys(value.split(), customer)
            if not what:
                found.forgot(customer, int(value))
            elif what[0].startswith(SUPPOSED):
                found.suppose(what[0].removeprefix(SUPPOSED), ids)
            elif what[0].startswith(OTHERS):
                others.append((what[0].removeprefix(OTHERS), ids))
            else:
                found.know(what[0], ids)
    for stream, ids in others:
        found.disown(stream, ids)
    found.marks()
    return found if found.customers else None


def digest(id: str) -> str:
    """How a column that is to be hashed spells an id."""
    return hashlib.sha256(id.encode()).hexdigest()


def tombs(table: base.Table, rows: pa.Table, hard: bool) -> base.Load:
    """The load that puts customers' tombstones into a table; where it keeps none, they are buried.

    A row is replaced whole, so that whatever the tombstone lacks becomes NULL.
    """
    marks = [*table.key, "_version", "_deleted_at", "_synced_at"]
    if hard:
        return base.Load(table, rows.select(marks), "mark", hard=True)
    filled = [name for name in rows.schema.names if name in marks or rows[name].null_count < rows.num_rows]
    return base.Load(table, rows.select(filled))


class Scrubber:
    """Knows the forgotten customers of one account and what is theirs, and cleans their rows.

    It learns from what it cleans: an invoice of theirs makes its lines theirs. What it learns goes into the
    state with the rows (`marks`), so that a later pull knows it. One thread at a time.
    """

    def __init__(self, account: str) -> None:
        self.account = account
        self._known: dict[str, dict[str, str]] = {}
        self._supposed: dict[str, dict[str, str]] = {}
        self._others: dict[str, set[str]] = {}
        self._all: set[str] = set()
        self._maybe: set[str] = set()
        self._arrays: dict[tuple[str, ...], pa.Array] = {}
        self._fresh: dict[str, dict[str, str]] = {}
        self._disowned: dict[str, dict[str, str]] = {}
        self._learnt: dict[str, dict[str, str]] = {}
        self._since: dict[str, dt.datetime] = {}

    @property
    def learnt(self) -> Mapping[str, Mapping[str, str]]:
        """What it learnt from rows, by stream."""
        return self._learnt

    @property
    def customers(self) -> Sequence[str]:
        """Who is forgotten."""
        return tuple(self._known.get(ownership.CUSTOMERS, ()))

    def known(self, stream: str) -> Mapping[str, str]:
        """The ids of a stream's rows that are theirs, each with its customer."""
        return self._known.get(stream, {})

    def supposed(self, stream: str) -> Mapping[str, str]:
        """The ids that rows of theirs name, whose rows were not seen; each with its customer."""
        return self._supposed.get(stream, {})

    def forgot(self, customer: str, since: int) -> None:
        """Take note of a customer who is forgotten since some time, unix seconds."""
        self.know(ownership.CUSTOMERS, {customer: customer})
        self._since[customer] = dt.datetime.fromtimestamp(since, dt.UTC)

    def know(self, stream: str, ids: Mapping[str, str]) -> dict[str, str]:
        """Take note of ids of theirs; those that are new."""
        known, supposed, others = self._known.setdefault(stream, {}), self.supposed(stream), self._of(stream)
        new = {id: customer for id, customer in ids.items() if id not in known and id not in others}
        if new:
            known.update(new)
            self._supposed[stream] = {id: each for id, each in supposed.items() if id not in new}
            self._all.update(new)
            self._changed(stream)
        return new

    def suppose(self, stream: str, ids: Mapping[str, str]) -> dict[str, str]:
        """Take note of ids that are theirs unless their rows name somebody else; those that are new."""
        had = {*self.known(stream), *self.supposed(stream), *self._of(stream)}
        new = {id: customer for id, customer in ids.items() if id not in had}
        if new:
            self._supposed.setdefault(stream, {}).update(new)
            self._maybe.update(new)
            self._changed(stream)
        return new

    def disown(self, stream: str, ids: Iterable[str]) -> None:
        """Take note of ids whose rows name somebody else: nothing is theirs on their account any more."""
        for id in ids:
            for name in ownership.alike(catalog.load().streams[stream].object) or (stream,):
                self._others.setdefault(name, set()).add(id)
                self._supposed.get(name, {}).pop(id, None)
                customer = self._known.get(name, {}).pop(id, None)
                if customer is not None:
                    self._disowned.setdefault(name, {})[id] = customer
                for learnt in (self._fresh, self._learnt):
                    learnt.get(name, {}).pop(id, None)
                self._changed(name)
            self._all.discard(id)
            self._maybe.discard(id)

    def loads(
        self, stream: catalog.Stream, loads: Iterable[base.Load], *, hard: bool = False
    ) -> list[base.Load]:
        """The same loads without anything personal of forgotten customers, who themselves become tombstones.

        `hard`: in this table deleted rows are removed. Loads that concern nobody are returned as they came.
        """
        return [each for load in loads for each in self._cleaned(stream, load, hard)]

    def scrub(self, stream: catalog.Stream, rows: pa.Table) -> pa.Table:
        """The rows, in their order, those of forgotten customers without anything personal."""
        mask = self.concerned(stream, rows)
        if mask is None:
            return rows
        mine = rows.filter(mask)
        self.learn(stream, mine)
        cleaned = self.clean(stream, mine)
        place = pc.subtract(pc.cumulative_sum(mask.cast(pa.int64())), 1)
        order = pc.if_else(mask, pc.add(place, rows.num_rows), pa.arange(0, rows.num_rows))
        return pa.concat_tables([rows, cleaned]).take(order)

    def clean(self, stream: catalog.Stream, rows: pa.Table) -> pa.Table:
        """Rows that are theirs, without anything personal; a customer is deleted since they were forgotten."""
        if stream.name == ownership.CUSTOMERS:
            times = pa.array([self._since.get(id) for id in rows["id"].to_pylist()], columns.INSTANT)
            at = rows.schema.get_field_index("_deleted_at")
            rows = rows.set_column(at, rows.schema.field(at), pc.coalesce(rows["_deleted_at"], times))
        return personal.clean(stream, rows)

    def concerned(self, stream: catalog.Stream, rows: pa.Table) -> pa.Array | None:
        """Which rows are a forgotten customer's; None when none is."""
        if not rows.num_rows:
            return None
        if stream.name == ownership.CUSTOMERS:
            mask = pc.is_in(rows["id"], value_set=self._ids(ownership.CUSTOMERS))
        elif ownership.is_event(stream):
            mask = self._telling(stream, rows)
        elif ownership.ties(stream.name) or stream.name in ownership.tied():
            mask = self._tied(stream, rows)
        else:
            return None
        if not pc.any(mask).as_py():
            return None
        return mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask

    def learn(self, stream: catalog.Stream, rows: pa.Table) -> dict[str, dict[str, str]]:
        """Take note of what rows of theirs name, by stream: what was not known before."""
        new: dict[str, dict[str, str]] = {}
        if ownership.is_event(stream):
            return new
        found: dict[str, dict[str, str]] = {}
        maybe: dict[str, dict[str, str]] = {}
        # Only what says itself whose it is, about what says itself whose it is, so that nobody else's is taken
        # along: a payment method that was detached and names nobody any more is had in this way alone.
        teaches = ownership.tells_itself(stream.name)
        present = [
            tie for tie in ownership.ties(stream.name) if tie.column in rows.schema.names and not tie.member
        ]
        texts = {name: rows[name].to_pylist() for name in {"id", *(tie.column for tie in present)}}
        for row, id in enumerate(texts["id"]):
            named = [(tie, texts[tie.column][row]) for tie in present if texts[tie.column][row]]
            customer = self._customer(stream, id, named)
            for name in ownership.alike(stream.object):
                found.setdefault(name, {})[id] = customer
            for tie, value in named if teaches else ():
                if any(value in self.known(name) for name in tie.streams):
                    continue
                for name in tie.streams:
                    if name not in (ownership.CUSTOMERS, stream.name) and ownership.tells_itself(name):
                        maybe.setdefault(name, {})[value] = customer
        if stream.name == ownership.CUSTOMERS and "customer_account" in rows.schema.names:
            pairs = zip(texts["id"], rows["customer_account"].to_pylist(), strict=True)
            found = {ownership.PEOPLE: {person: id for id, person in pairs if person}}
        for note, noted, prefix in ((self.know, found, ""), (self.suppose, maybe, SUPPOSED)):
            for name, ids in noted.items():
                fresh = note(name, ids)
                if fresh:
                    new.setdefault(name, {}).update(fresh)
                    self._fresh.setdefault(prefix + name, {}).update(fresh)
                    self._learnt.setdefault(name, {}).update(fresh)
        return new

    def marks(self) -> dict[str, str | None]:
        """State that keeps what was learnt since the last call; commit it with the rows.

        It says too that earlier rows may be theirs, until `erase.again` has gone through them.
        """
        made: dict[str, str | None] = {f"{UNCLEAN}{self.account}": "1"} if self._fresh else {}
        disowned = {f"{OTHERS}{stream}": ids for stream, ids in self._disowned.items()}
        for stream, ids in (self._fresh | disowned).items():
            by_customer: dict[str, list[str]] = {}
            for id, customer in ids.items():
                by_customer.setdefault(customer, []).append(id)
            for customer, listed in by_customer.items():
                made[f"{STATE}{self.account}/{customer}/{stream}/{listed[0]}"] = " ".join(listed)
        self._fresh, self._disowned = {}, {}
        return made

    def _cleaned(self, stream: catalog.Stream, load: base.Load, hard: bool) -> Iterator[base.Load]:
        mask = self.concerned(stream, load.rows) if load.mode in ("replace", "keep", "history") else None
        if mask is None:
            yield load
            return
        if stream.name != ownership.CUSTOMERS:
            yield dataclasses.replace(load, rows=self.scrub(stream, load.rows))
            return
        mine, others = load.rows.filter(mask), load.rows.filter(pc.invert(mask))
        self.learn(stream, mine)
        if others.num_rows:
            yield dataclasses.replace(load, rows=others)
        if load.mode != "history":
            yield tombs(load.table, self.clean(stream, mine), hard)

    def _customer(self, stream: catalog.Stream, id: str, named: Iterable[tuple[ownership.Tie, str]]) -> str:
        """Whose a row is that is somebody's."""
        ids = [(stream.name, id), *((name, value) for tie, value in named for name in tie.streams)]
        found = (self._known.get(name, {}).get(value) for name, value in ids)
        return next(filter(None, found), self.customers[0])

    def _of(self, stream: str) -> Collection[str]:
        """The ids of a stream that are known to be another's."""
        return self._others.get(stream, ())

    def _changed(self, stream: str) -> None:
        self._arrays = {names: array for names, array in self._arrays.items() if stream not in names}

    def _own(self, stream: str) -> pa.Array:
        """The ids of rows that are theirs if they name nobody else."""
        if (SUPPOSED, stream) not in self._arrays:
            ids = [*self.known(stream), *self.supposed(stream)]
            self._arrays[SUPPOSED, stream] = pa.array(ids, pa.string())
        return self._arrays[SUPPOSED, stream]

    def _ids(self, *streams: str) -> pa.Array:
        if streams not in self._arrays:
            ids = [id for name in streams for id in self._known.get(name, ())]
            if ownership.CUSTOMERS in streams:  # a column may have been chosen to be hashed
                ids += [digest(id) for id in ids]
            self._arrays[streams] = pa.array(ids, pa.string())
        return self._arrays[streams]

    def _tied(self, stream: catalog.Stream, rows: pa.Table) -> pa.ChunkedArray:
        """By what its references say: the customer decides where one is named, else any of the others.

        Of a history, a version that names nobody is not theirs where another version names somebody else.
        """
        own = pc.is_in(rows["id"], value_set=self._own(stream.name))
        loose, told, direct = own, _no(rows), _no(rows)
        for tie in sorted(
            ownership.ties(stream.name), key=lambda each: ownership.CUSTOMERS not in each.streams
        ):
            if tie.column not in rows.schema.names:
                continue
            column = _inside(rows[tie.column], tie.member) if tie.member else rows[tie.column]
            hit = pc.fill_null(pc.is_in(column, value_set=self._ids(*tie.streams)), False)
            if not tie.direct:
                loose = pc.or_(loose, hit)
            elif ownership.PEOPLE in tie.streams:  # counts where no customer is named
                direct = pc.or_(direct, pc.and_(hit, pc.invert(told)))
                told = pc.or_(told, pc.is_valid(column))
            else:
                direct, told = pc.or_(direct, hit), pc.or_(told, pc.is_valid(column))
        another = pc.and_(told, pc.invert(direct))
        strange = rows["id"].filter(pc.and_(another, own)).to_pylist()
        if strange:
            self.disown(stream.name, strange)
        loose = pc.and_(loose, pc.invert(told))
        if pc.any(loose).as_py() and pc.any(another).as_py():
            alien = rows["id"].filter(another).combine_chunks()
            loose = pc.and_(loose, pc.invert(pc.is_in(rows["id"], value_set=alien)))
        return pc.or_(direct, loose)

    def _telling(self, stream: catalog.Stream, rows: pa.Table) -> pa.Array:
        """Events by what they hold: any id of theirs outside of metadata, unless it is another customer's."""
        names = [
            field.name for field in stream.fields if field.type == "json" and field.name in rows.schema.names
        ]
        found = [False] * rows.num_rows
        for name in names:
            for row, value in enumerate(rows[name].to_pylist()):
                if value and not found[row]:
                    words = value.split('"')
                    if not (self._all.isdisjoint(words) and self._maybe.isdisjoint(words)):
                        found[row] = self._tells(value)
        return pa.array(found, pa.bool_())

    def _tells(self, value: str) -> bool:
        try:
            held = json.loads(value)
        except (ValueError, RecursionError):
            return True  # it names somebody, and cannot be read: better too much than too little
        inner = held.get("object", held) if isinstance(held, dict) else held
        named = ownership.named(inner) if isinstance(inner, dict) else None
        if named is not None and named not in self.known(ownership.CUSTOMERS):
            previous = held.get("previous_attributes") if isinstance(held, dict) else None
            return isinstance(previous, dict) and not self._all.isdisjoint(ownership.words(previous))
        about = inner.get("id") if isinstance(inner, dict) else None
        return about in self._maybe or not self._all.isdisjoint(ownership.words(held))


def _no(rows: pa.Table) -> pa.Array:
    return pa.repeat(pa.scalar(False), rows.num_rows)


def _inside(column: pa.ChunkedArray, member: str) -> pa.Array:
    """A member of each JSON value that is an object."""
    found: list[str | None] = []
    for value in column.to_pylist():
        try:
            held = json.loads(value) if value else None
        except ValueError:
            held = None
        inner = held.get(member) if isinstance(held, dict) else None
        found.append(inner if isinstance(inner, str) else None)
    return pa.array(found, pa.string())
