"""Customers to look at: found by what is known of them, and one with all that belongs to it."""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import pyarrow as pa

from tidegate import errors
from tidegate.customers import decisions, inside, merging, normalising, parties, records, run, why
from tidegate.warehouse import base, ddl, scripts

NAMING = ("name", "email", "phone", "customer_id")
"""Properties by which people call customers, where the model has them."""
MOST = 200
"""Records of one customer that are shown."""

Use = Literal["links", "alone", "shared", "ignored", "unused"]


@dataclass(frozen=True, slots=True)
class Found:
    """A customer in a list: its profile, and what people call it by."""

    profile: str
    known: Mapping[str, Any]
    sources: int
    accounts: int
    updated_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """Customers in the order of their ids; `after` is where the next page begins, None on the last."""

    customers: tuple[Found, ...]
    after: str | None


@dataclass(frozen=True, slots=True)
class Record:
    """A record of a customer: where it comes from, since when it is theirs, what it says.

    `home` is the profile that it would have if the merge that brought it were undone.
    """

    record: str
    pipeline: str
    account: str
    source_id: str
    home: str
    since: dt.datetime | None
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Identifier:
    """A value that records of a customer are recognised by, in the form in which it is compared.

    `use`: it `links` several of its records; only one has it (`alone`); too many records have it (`shared`); it was
    ignored to keep customers small or two records apart (`ignored`); the rules do not name it (`unused`).
    """

    identifier: str
    value: str
    records: tuple[str, ...]
    use: Use


@dataclass(frozen=True, slots=True)
class Customer:
    """A profile with all that belongs to it; `sources` counts its records, of which MOST are here at most."""

    profile: str
    properties: Mapping[str, Any]
    sources: int
    accounts: int
    first_seen_at: dt.datetime | None
    updated_at: dt.datetime | None
    records: tuple[Record, ...]
    identifiers: tuple[Identifier, ...]
    aliases: tuple[str, ...]
    decisions: tuple[decisions.Decision, ...]


def search(model: run.Model, text: str = "", *, limit: int = 50, after: str = "") -> Page:
    """Customers whose name, e-mail, phone or id contains a text, or who were known by it, page by page.

    A profile is also found by its former ids, by the keys and Stripe ids of its records, and by every value that
    identifies one of them. Without a text, all that there are.
    """
    wanted = text.strip()

    known = [each for each in NAMING if each in model.profile.names]

    def work(script: scripts.Script) -> tuple[list[str], dict[str, dict[str, Any]]]:
        table = script.name(model.names.profiles)
        if not (script.has(model.names.profiles) and script.has(model.names.members.name)):
            return [], {}
        where = ["p._deleted_at IS NULL"]
        if after:
            where.append(f"p.profile_id > {ddl.literal(after)}")
        if wanted:
            where.append(f"({_meant(script, model, wanted)})")
        rows = script.rows(
            f"SELECT p.profile_id FROM {table} AS p WHERE {' AND '.join(where)} "
            f"ORDER BY p.profile_id LIMIT {int(limit) + 1}"
        )
        ids = [str(id) for (id,) in rows]
        return ids, _profiles(script, model, ids[:limit], known)

    ids, stored = inside.scripted(model, work)
    page = ids[:limit]
    customers = tuple(
        Found(
            id,
            {name: row[name] for name in known},
            int(row["sources"] or 0),
            int(row["accounts"] or 0),
            row["updated_at"],
        )
        for id in page
        if (row := stored.get(id)) is not None
    )
    return Page(customers, page[-1] if len(ids) > limit else None)


def customer(model: run.Model, asked: str) -> Customer:
    """One customer, by the id of its profile, a former one, or a record; raises ConfigError where there is none."""
    named = model.names

    def work(script: scripts.Script) -> Customer:
        party = parties.named(script, named, asked)
        own = ddl.literal(party.profile)
        members = script.rows(
            f"SELECT record, home, since FROM {script.name(named.members.name)} "
            f"WHERE profile_id = {own} AND left_at IS NULL"
        )
        aliases = script.rows(
            f"SELECT alias FROM {script.name(named.aliases.name)} WHERE profile_id = {own} ORDER BY alias"
        )
        every = {str(record) for record, _, _ in members}
        mine = sorted(members, key=lambda row: (row[1] != party.profile, row[2], row[0]))[:MOST]
        profiles, told = script.find_all(
            [
                _wanted_profiles(model, [party.profile], list(model.profile.names)),
                _wanted_records(model, [str(record) for record, _, _ in mine]),
            ]
        )
        row = _living(profiles, merging.table(named, model.profile).schema).get(party.profile)
        if row is None:
            raise errors.ConfigError(
                f"The profile of {asked} is not written yet; a run of a pipeline of the model writes it."
            )
        return Customer(
            party.profile,
            {name: row[name] for name in model.profile.names},
            len(members),
            int(row["accounts"] or 0),
            row["first_seen_at"],
            row["updated_at"],
            _records(model, mine, told),
            _identifiers(script, model, party.profile, every),
            tuple(str(alias) for (alias,) in aliases),
            tuple(each for each in decisions.listed(script, named) if every & {each.record, each.other}),
        )

    return inside.scripted(model, work)


def _meant(script: scripts.Script, model: run.Model, text: str) -> str:
    """The condition for profiles (p) that a text may mean."""
    named, own = model.names, ddl.literal(text)
    members = f"{script.name(named.members.name)} AS m"
    ids = [
        f"SELECT m.profile_id FROM {members} "
        f"WHERE m.left_at IS NULL AND (m.profile_id = {own} OR m.record = {own})",
        f"SELECT a.profile_id FROM {script.name(named.aliases.name)} AS a WHERE a.alias = {own}",
        f"SELECT m.profile_id FROM {members} JOIN {script.name(named.records().name)} AS r ON r.record = m.record "
        f"WHERE m.left_at IS NULL AND r.source_id = {own}",
    ]
    for kind in model.profile.identifiers:
        if (value := normalising.normalised(kind, text)) is not None:
            ids.append(
                f"SELECT m.profile_id FROM {members} JOIN {script.name(named.identifiers.name)} AS i "
                f"ON i.record = m.record WHERE m.left_at IS NULL AND i._deleted_at IS NULL "
                f"AND i.kind = {ddl.literal(kind)} AND i.value = {ddl.literal(value)}"
            )
    texts = [
        each.name for each in model.profile.properties if each.name in NAMING and each.target.type == "string"
    ]
    contains = [_contains(f"p.{name}", text) for name in texts]
    return " OR ".join([f"p.profile_id IN ({' UNION ALL '.join(ids)})", *contains])


def _contains(column: str, text: str) -> str:
    """The condition that a column has a text in it, in capitals or not.

    ILIKE takes half the time of `strpos`, so that what it cannot tell is looked for among the rows that have the
    longest part of which it tells every letter.
    """
    exact = f"strpos(lower({column}), {ddl.literal(text.lower())}) > 0"
    plain = max(_PLAIN.findall(text), key=len, default="")
    if not plain:
        return exact
    has = f"{column} ILIKE {ddl.literal(f'%{plain}%')}"
    return has if plain == text else f"({has} AND {exact})"


_PLAIN = re.compile(r"[^%_\[\]\\\x80-\U0010ffff]+")
"""What LIKE takes for itself in every warehouse: ASCII without its wildcards."""


def _profiles(
    script: scripts.Script, model: run.Model, ids: Sequence[str], properties: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Profiles that there are, by their ids."""
    if not ids:
        return {}
    [found] = script.find_all([_wanted_profiles(model, ids, properties)])
    return _living(found, merging.table(model.names, model.profile).schema)


def _wanted_profiles(model: run.Model, ids: Sequence[str], properties: Sequence[str]) -> base.Wanted:
    table = merging.table(model.names, model.profile)
    keys = pa.table({"profile_id": pa.array(ids, pa.string())})
    return base.Wanted(table, keys, [*properties, "sources", "accounts", "first_seen_at", "updated_at"])


def _living(found: pa.Table, schema: pa.Schema) -> dict[str, dict[str, Any]]:
    rows = (_plain(row, schema) for row in found.to_pylist())
    return {row["profile_id"]: row for row in rows if row["_deleted_at"] is None}


def _wanted_records(model: run.Model, members: Sequence[str]) -> base.Wanted:
    keys = pa.table({"record": pa.array(members, pa.string())})
    columns = ["pipeline", "_account_id", "source_id", *model.profile.names]
    return base.Wanted(records.table(model.names, model.profile), keys, columns)


def _records(model: run.Model, members: Sequence[tuple[Any, ...]], found: pa.Table) -> tuple[Record, ...]:
    """Members (record, home, since) with what their records say."""
    schema, names = records.table(model.names, model.profile).schema, model.profile.names
    rows = {row["record"]: _plain(row, schema) for row in found.to_pylist()}
    return tuple(
        Record(
            record,
            rows[record]["pipeline"],
            rows[record]["_account_id"],
            rows[record]["source_id"],
            str(home),
            since,
            {name: rows[record][name] for name in names},
        )
        for record, home, since in members
        if record in rows
    )


def _identifiers(
    script: scripts.Script, model: run.Model, profile: str, members: Collection[str]
) -> tuple[Identifier, ...]:
    """What the records of a profile are recognised by, strongest first."""
    named, where = model.names, f"m.profile_id = {ddl.literal(profile)}"
    levels, shared = why.levels_of(script, named), why.shared_values(script, named)
    held = why.held_of(script, named, where)
    having = defaultdict(list)
    for record, kind, value in why.values_of(script, named, where, members):
        having[kind, value].append(record)

    def use(kind: str, value: str, mine: Sequence[str]) -> Use:
        if kind not in levels:
            return "unused"
        if (kind, value) in shared:
            return "shared"
        if any((record, kind) in held for record in mine):
            return "ignored"
        return "links" if len(mine) > 1 else "alone"

    return tuple(
        Identifier(kind, value, tuple(mine), use(kind, value, mine))
        for (kind, value), mine in sorted(
            having.items(), key=lambda pair: (levels.get(pair[0][0], len(levels) + 1), pair[0])
        )
    )


def _plain(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """A row with what its JSON says."""
    told = dict(row)
    for field in schema:
        if field.name in told and ddl.is_json(field) and told[field.name] is not None:
            told[field.name] = msgspec.json.decode(told[field.name])
    return told
