"""Takes forgotten customers out of a warehouse: out of tables, histories and kept events.

The walk begins with the customers and goes from rows to the rows that refer to them, table by table, until nothing
new is found; events, which hold whole objects, come last. Rows are read, cleaned and written back in batches under
their own version, so that nothing else about them changes. Everything goes through `base.Warehouse`.

Who is forgotten is written down before anything is erased, and the ids that lead on are written together with the
rows that named them: killed anywhere and run again, it ends the same. Running pulls are shut out by a claim.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tidegate import errors
from tidegate.privacy import forget, ownership, personal, places
from tidegate.privacy.places import Place
from tidegate.rows import columns
from tidegate.warehouse import base

BATCH = 1_000
"""Rows that are cleaned and committed at once."""


@dataclass(slots=True)
class Erased:
    """What was found and done: rows by table, and by customer the accounts that had anything of theirs.

    `blind` are tables whose columns do not tell whose a row is, though Stripe does.
    """

    accounts: dict[str, set[str]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    blind: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """What `forget --json` prints."""
        return {
            "customers": [{"id": id, "accounts": sorted(found)} for id, found in self.accounts.items()],
            "tables": dict(sorted(self.rows.items())),
            "blind": list(self.blind),
        }


def erase(
    warehouse: base.Warehouse,
    customers: Sequence[str],
    *,
    tables: Mapping[str, Sequence[str]],
    account: str = "",
    hard: Collection[str] = (),
    dry_run: bool = False,
    now: dt.datetime | None = None,
) -> Erased:
    """Forget customers, of one account or of every account that has them; idempotent.

    `tables` are table names by stream, `hard` those of them from which deleted rows are removed. With `dry_run`
    nothing is written and the rows that would change are counted. Raises ConfigError for what is no customer's id,
    Fenced when a pull began meanwhile: run it again.
    """
    for id in customers:
        check(id)
    now = now or dt.datetime.now(dt.UTC)
    there = places.places(warehouse, tables)
    done = Erased({id: set() for id in customers}, blind=tuple(filter(None, map(_blind, there))))
    held = {
        id: {account} if account else found for id, found in _accounts(warehouse, there, customers).items()
    }
    saved = warehouse.state(forget.STATE, forget.UNCLEAN)
    since = str(int(now.timestamp()))
    if not dry_run:
        keys = [
            f"{forget.STATE}{each}/{id}"
            for id in customers
            for each in held[id] or {account or forget.ANYWHERE}
        ]
        warehouse.load([], {key: saved.get(key, since) for key in keys})
    accounts = sorted(set().union(*held.values()))
    fence = None
    if there and not dry_run:  # nowhere so far: a pull may be bringing them at this moment
        fence = warehouse.claim(f"forget at {now:%Y-%m-%d %H:%M:%S}", [place.name for place in there])
    for each in accounts:
        mine = [id for id in customers if each in held[id]]
        scrubber = _scrubber(saved, each, mine, since)
        _Walk(warehouse, fence, scrubber, there, done, frozenset(hard), now, dry_run).go()
        unclean = f"{forget.UNCLEAN}{each}"
        if not dry_run and unclean not in saved:  # else an earlier pull has left more to do
            warehouse.load([], {unclean: None}, fence)
    return done


def check(id: str) -> None:
    """Raises ConfigError for what is no customer's id."""
    if not forget.CUSTOMER.fullmatch(id):
        raise errors.ConfigError(
            "a customer's id looks like cus_NffrFeUfNV2Hib and one of these does not; find it with "
            "`select id from stripe.customers`"
        )


def again(
    warehouse: base.Warehouse,
    scrubber: forget.Scrubber,
    *,
    tables: Mapping[str, Sequence[str]],
    hard: Collection[str] = (),
    fence: base.Fence | None = None,
    whole: bool = False,
    now: dt.datetime | None = None,
) -> Erased:
    """Clean what came into the warehouse before it was known whose it is, at the end of a pull that learnt.

    A child may arrive before the parent that makes it a forgotten customer's. `whole`: go by all that is known,
    since an earlier pull was cut short before it could do this.
    """
    there = places.places(warehouse, tables)
    done = Erased({id: set() for id in scrubber.customers})
    fresh = {name: set(ids) for name, ids in scrubber.learnt.items()}
    walk = _Walk(warehouse, fence, scrubber, there, done, frozenset(hard), now or dt.datetime.now(dt.UTC))
    walk.go(None if whole else fresh)
    warehouse.load([], {f"{forget.UNCLEAN}{scrubber.account}": None}, fence)
    return done


@dataclass(slots=True)
class _Walk:
    """The way through the tables of one account."""

    warehouse: base.Warehouse
    fence: base.Fence | None
    scrubber: forget.Scrubber
    places: Sequence[Place]
    done: Erased
    hard: frozenset[str]
    now: dt.datetime
    dry: bool = False
    seen: dict[str, set[str]] = field(default_factory=dict)
    loads: list[base.Load] = field(default_factory=list)

    def go(self, frontier: dict[str, set[str]] | None = None) -> None:
        """From ids by stream, all that are known unless said, to every row that is theirs."""
        if frontier is None:
            names = {ownership.CUSTOMERS, *ownership.tied()}
            ids = {name: {*self.scrubber.known(name), *self.scrubber.supposed(name)} for name in names}
            frontier = {name: mine for name, mine in ids.items() if mine}
        told = [place for place in self.places if not ownership.is_event(place.stream)]
        while frontier:
            further: dict[str, set[str]] = {}
            for place, referring in self._referring(told, frontier):
                for name, new in self._clean(place, referring).items():
                    further.setdefault(name, set()).update(new)
            frontier = further
        for place in self.places:
            if ownership.is_event(place.stream):
                texts = [each.name for each in place.stream.fields if each.type == "json"]
                telling = self._mine(place, texts)
                for first in range(0, len(telling), BATCH):
                    self._clean(place, telling[first : first + BATCH])
        self._commit()

    def _referring(
        self, told: Sequence[Place], frontier: Mapping[str, set[str]]
    ) -> Iterator[tuple[Place, list[str]]]:
        """The ids of rows that refer to what was found last, each once per table."""
        selects = []
        for n, place in enumerate(told):
            for where, values in self._conditions(place, frontier):
                sql = f"select {n} as place, id from {places.table(self.warehouse, place)} where _account_id = ?"
                selects.append((f"{sql} and {where}", [self.scrubber.account, *values]))
        found = [
            (told[int(row["place"])], row["id"])
            for rows in places.union(self.warehouse, selects)
            for row in rows
        ]
        for place in told if ownership.CUSTOMERS in frontier else ():
            inside = [tie.column for tie in ownership.ties(place.stream.name) if tie.member]
            found += [(place, id) for id in self._mine(place, inside)]
        fresh: dict[str, list[str]] = {}
        for place, id in found:
            seen = self.seen.setdefault(place.name, set())
            if id not in seen:
                seen.add(id)
                fresh.setdefault(place.name, []).append(id)
        for place in told:
            ids = fresh.get(place.name, [])
            for first in range(0, len(ids), BATCH):
                yield place, ids[first : first + BATCH]

    def _conditions(self, place: Place, frontier: Mapping[str, set[str]]) -> Iterator[tuple[str, list[str]]]:
        """For which rows of a table to ask: those that are meant themselves, and those that refer to them.

        To what is only supposed to be theirs nothing refers yet.
        """
        wanted = [(place.stream.name, "id")]
        wanted += [
            (name, tie.column)
            for tie in ownership.ties(place.stream.name)
            for name in tie.streams
            if tie.column in place.columns and not tie.member
        ]
        pairs = [
            (column, spelt)
            for name, column in wanted
            for id in frontier.get(name, ())
            if column == "id" or id in self.scrubber.known(name)
            for spelt in (
                (id, forget.digest(id)) if name == ownership.CUSTOMERS != place.stream.name else (id,)
            )
        ]
        for first in range(0, len(pairs), places.NAMED):
            yield places.condition(pairs[first : first + places.NAMED])

    def _mine(self, place: Place, texts: Sequence[str]) -> list[str]:
        """The ids of rows that are theirs by what is inside their JSON, for which the whole table is read."""
        names = ["id", *(name for name in texts if name in place.columns)]
        if len(names) == 1:
            return []
        found: dict[str, None] = {}
        for rows in places.read(self.warehouse, place, names, self.scrubber.account):
            mask = self.scrubber.concerned(place.stream, rows)
            if mask is not None:
                found |= dict.fromkeys(rows["id"].filter(mask).to_pylist())
        return list(found)

    def _clean(self, place: Place, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """Clean some rows, and learn from them where to go on."""
        pairs = [("id", id) for id in ids]
        batches = list(places.read(self.warehouse, place, place.columns, self.scrubber.account, pairs))
        rows = pa.concat_tables(batches)
        mask = self.scrubber.concerned(place.stream, rows)
        if mask is None:
            return {}
        new = self.scrubber.learn(place.stream, rows.filter(mask))
        if place.history:  # versions that name nobody are theirs when another version of the row names them
            mask = self.scrubber.concerned(place.stream, rows)
        rows = rows.filter(mask)
        self._note(place, rows)
        load = self._load(place, rows)
        if load is not None:
            count = load.rows.num_rows
            self.done.rows[place.name] = self.done.rows.get(place.name, 0) + count
            self.loads.append(load)
            if sum(each.rows.num_rows for each in self.loads) >= BATCH:
                self._commit()
        return new

    def _commit(self) -> None:
        """Write what was cleaned, and with it where it leads."""
        marks = self.scrubber.marks()
        if not self.dry and (self.loads or marks):
            self.warehouse.load(self.loads, marks, self.fence)
        self.loads = []

    def _load(self, place: Place, rows: pa.Table) -> base.Load | None:
        """What is to be done about rows of theirs; None when nothing personal is left in them."""
        if place.stream.name == ownership.CUSTOMERS and place.history:
            return base.Load(_of(place, rows.select(place.key)), rows.select(place.key), "drop")
        cleaned = self.scrubber.clean(place.stream, rows)
        hard = place.stream.name == ownership.CUSTOMERS and place.name in self.hard
        if not hard:
            cleaned = cleaned.filter(personal.changed(rows, cleaned))
        if not cleaned.num_rows:
            return None
        always = (*place.key, "_version")
        kept = [name for name in cleaned.schema.names if name in always or _is_filled(cleaned[name])]
        cleaned = _written(cleaned.select(kept), self.now)
        if place.stream.name == ownership.CUSTOMERS:
            return forget.tombs(_of(place, cleaned), cleaned, hard)
        return base.Load(_of(place, cleaned), cleaned)

    def _note(self, place: Place, rows: pa.Table) -> None:
        """Remember which customers had anything here."""
        known = self.scrubber.known(ownership.CUSTOMERS)
        hashed = {forget.digest(id): id for id in known}
        ties = [tie.column for tie in ownership.ties(place.stream.name) if tie.direct and not tie.member]
        for name in ["id"] if place.stream.name == ownership.CUSTOMERS else ties:
            for value in set(rows[name].to_pylist() if name in rows.schema.names else ()):
                customer = value if value in known else hashed.get(value)
                if customer in self.done.accounts:
                    self.done.accounts[customer].add(self.scrubber.account)


def _scrubber(
    saved: Mapping[str, str], account: str, customers: Sequence[str], since: str
) -> forget.Scrubber:
    """What is known of these customers, from earlier times too."""
    mine = {
        key: value
        for key, value in saved.items()
        if key.startswith(f"{forget.STATE}{account}/") and key.split("/")[2] in customers
    }
    named = {f"{forget.STATE}{account}/{id}": since for id in customers}
    found = forget.scrubber({**named, **mine}, account)
    assert found is not None, "an account is walked for somebody"
    return found


def _blind(place: Place) -> str:
    """The name of a table that lacks the columns by which Stripe tells whose a row is."""
    direct = {tie.column for tie in ownership.ties(place.stream.name) if tie.direct}
    return place.name if direct and not direct & set(place.columns) else ""


def _accounts(
    warehouse: base.Warehouse, there: Sequence[Place], customers: Sequence[str]
) -> dict[str, set[str]]:
    """By customer, the accounts that have rows which name them."""
    found: dict[str, set[str]] = {id: set() for id in customers}
    spelt = {spelling: id for id in customers for spelling in (id, forget.digest(id))}
    selects = []
    for place in there:
        direct = [tie.column for tie in ownership.ties(place.stream.name) if tie.direct and not tie.member]
        for name in ["id"] if place.stream.name == ownership.CUSTOMERS else direct:
            if name in place.columns:
                where, values = places.condition([(name, each) for each in spelt])
                table, column = places.table(warehouse, place), base.quoted(name)
                sql = f"select distinct _account_id as account, {column} as named from {table} where {where}"
                selects.append((sql, values))
    for rows in places.union(warehouse, selects):
        for row in rows:
            found[spelt[row["named"]]].add(row["account"])
    lost = [id for id in customers if not found[id]]
    for place in there if lost else ():
        inside = [tie.column for tie in ownership.ties(place.stream.name) if tie.member]
        texts = [each.name for each in place.stream.fields if each.type == "json"]
        names = [
            name for name in (texts if ownership.is_event(place.stream) else inside) if name in place.columns
        ]
        for rows_of in places.read(warehouse, place, names) if names else ():
            for row in rows_of.to_pylist():
                for id in lost:
                    if any(id in (row[name] or "") for name in names):
                        found[id].add(row["_account_id"])
    return found


def _of(place: Place, rows: pa.Table) -> base.Table:
    """The table as far as these rows fill it: a row is replaced whole, and what it lacks becomes NULL."""
    return base.Table(place.name, rows.schema, place.key, "" if place.history else "_version")


def _is_filled(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count < len(column))


def _written(rows: pa.Table, now: dt.datetime) -> pa.Table:
    """The rows as written now."""
    at = rows.schema.get_field_index("_synced_at")
    if at < 0:
        return rows
    return rows.set_column(
        at, rows.schema.field(at), pa.repeat(pa.scalar(now, columns.INSTANT), rows.num_rows)
    )
