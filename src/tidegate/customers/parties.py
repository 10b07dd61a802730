"""Whom somebody means: a profile by its id, a former one by its alias, a record by its key or its Stripe id."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from tidegate import errors
from tidegate.customers.names import Names
from tidegate.warehouse import ddl, scripts

NEAR = 1_000
"""Ids among which the nearest to an unknown one is looked for."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who is meant by `asked`: the profile that has them now, and which of its records are meant, the first first.

    Of a profile these are all; of an alias those that came with it.
    """

    asked: str
    profile: str
    records: tuple[str, ...]


def named(script: scripts.Script, names: Names, asked: str) -> Party:
    """Who is meant; raises ConfigError where nobody is, with the nearest id that there is, or several are."""
    check(script, names)
    for found in (_record, _alias, _profile, _source):
        if (party := found(script, names, asked)) is not None:
            return party
    if _is_gone(script, names, asked):
        raise errors.ConfigError(f"The customer {asked} is gone: all of its records have left the model.")
    raise unknown(asked, _near(script, names, asked))


def record(script: scripts.Script, names: Names, asked: str) -> Party:
    """A record by its key; raises ConfigError where there is none."""
    if script.has(names.members.name) and (party := _record(script, names, asked)) is not None:
        return party
    raise errors.ConfigError(
        f"There is no record {asked} in the customer model; give one as PIPELINE/ACCOUNT/ID, as its profile lists "
        "it."
    )


def check(script: scripts.Script, names: Names) -> None:
    """Raises ConfigError where no pipeline has filled the model yet."""
    if not script.has(names.members.name):
        raise errors.ConfigError(
            f"The customer model {names.profiles} is empty, since no pipeline has run; "
            "`tidegate pipeline run NAME` fills it."
        )


def unknown(asked: str, near: str) -> errors.ConfigError:
    """What to say of an id that is nobody's."""
    hint = f"did you mean {near}?" if near else "`tidegate customers list TEXT` finds customers."
    return errors.ConfigError(
        f"There is no customer {asked}, and no record of one, in the customer model; {hint}"
    )


def nearest(asked: str, known: list[str]) -> str:
    """The id that is meant, where one is near."""
    return next(iter(difflib.get_close_matches(asked, known, n=1, cutoff=0.8)), "")


_COLUMNS = "SELECT m.record, m.profile_id, m.home, m.since FROM"


def _members(script: scripts.Script, names: Names, asked: str, where: str) -> Party | None:
    """Live members as a party of one profile; who stayed with it comes before who joined, the older first."""
    rows = script.rows(
        f"{_COLUMNS} {script.name(names.members.name)} AS m WHERE m.left_at IS NULL AND {where}"
    )
    if not rows:
        return None
    ordered = sorted(rows, key=lambda row: (row[2] != row[1], row[3], row[0]))
    if len({row[1] for row in rows}) > 1:
        told = ", ".join(str(row[0]) for row in ordered[:3]) + (", ..." if len(ordered) > 3 else "")
        raise errors.ConfigError(
            f"{asked} is the id of records of several customers: {told}; give one of them."
        )
    return Party(asked, str(rows[0][1]), tuple(str(row[0]) for row in ordered))


def _record(script: scripts.Script, names: Names, asked: str) -> Party | None:
    return _members(script, names, asked, f"m.record = {ddl.literal(asked)}")


def _profile(script: scripts.Script, names: Names, asked: str) -> Party | None:
    return _members(script, names, asked, f"m.profile_id = {ddl.literal(asked)}")


def _alias(script: scripts.Script, names: Names, asked: str) -> Party | None:
    own = ddl.literal(asked)
    rows = script.rows(f"SELECT profile_id FROM {script.name(names.aliases.name)} WHERE alias = {own}")
    if not rows:
        return None
    now = ddl.literal(str(rows[0][0]))
    came = _members(script, names, asked, f"m.profile_id = {now} AND m.home = {own}")
    return came or _members(script, names, asked, f"m.profile_id = {now}")


def _source(script: scripts.Script, names: Names, asked: str) -> Party | None:
    """By the last part of the key: the row's own id at Stripe."""
    tail = f"/{asked}"
    return _members(script, names, asked, f"right(m.record, {len(tail)}) = {ddl.literal(tail)}")


def _is_gone(script: scripts.Script, names: Names, asked: str) -> bool:
    ids = script.name(names.ids.name)
    return bool(script.rows(f"SELECT profile_id FROM {ids} WHERE profile_id = {ddl.literal(asked)}"))


def _near(script: scripts.Script, names: Names, asked: str) -> str:
    """The nearest id; one slip of the pen leaves one half of it as it is."""
    word = asked.rpartition("/")[2]
    halves = [each for each in (word[: len(word) // 2], word[len(word) // 2 :]) if each]
    known = []
    for table, column, live in ((names.members, "record", "left_at"), (names.ids, "profile_id", "gone_at")):
        has = " OR ".join(f"strpos(q.{column}, {ddl.literal(half)}) > 0" for half in halves) or "1 = 0"
        rows = script.rows(
            f"SELECT q.{column} FROM {script.name(table.name)} AS q WHERE q.{live} IS NULL AND ({has}) LIMIT {NEAR}"
        )
        known += [str(each) for (each,) in rows]
    if "/" not in asked:
        own = {each.rpartition("/")[2]: each for each in known}
        return nearest(asked, list(own))
    return nearest(asked, known)
