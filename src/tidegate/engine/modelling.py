"""The customer model as people ask and decide about it; whoever shows it calls these, and gets frozen values.

Every function opens the model's warehouse and closes it again; all of them block. What is decided stands in the
warehouse, and who did it in the audit log of another database: a line there comes before, and one after that says
what came of it. Whatever happens between, nothing is decided of which the log does not tell.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tidegate import config, errors
from tidegate.customers import (
    decisions,
    finding,
    identity,
    inside,
    merging,
    parties,
    preview,
    rules,
    run,
    why,
)
from tidegate.customers.names import Names
from tidegate.engine import leased, piping
from tidegate.store import database, trail
from tidegate.warehouse import scripts

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Noted:
    """Who decided, and why; `via` is how that came, and `who` did it where somebody else is named."""

    by: str = ""
    note: str = ""
    via: str = ""
    who: str = ""


Decisions = tuple[decisions.Decision, ...]
Wishes = Callable[[scripts.Script, Names], Sequence[decisions.Wish]]
"""What is to be decided, worked out inside the warehouse."""


def chosen(file: config.Config, warehouse: str | None = None) -> config.CustomerModel:
    """The customer model of a configuration, or the one in a warehouse where there are several.

    Raises ConfigError where there is none, or it is not said which.
    """
    found = {of.warehouse: of for of in piping.models(file).values()}
    if not found:
        raise errors.ConfigError(
            "the configuration has no customer model; describe one under `customer_model:`, and what fills it "
            "under `pipelines:`"
        )
    if warehouse is None and len(found) > 1:
        raise errors.ConfigError(
            f"there are customer models in several warehouses; say which with --warehouse: {', '.join(found)}"
        )
    name = warehouse or next(iter(found))
    if name not in found:
        raise errors.ConfigError(
            f"there is no customer model in a warehouse {name!r}; there is one in {', '.join(found)}"
        )
    return found[name]


def search(
    file: config.Config, of: config.CustomerModel, text: str = "", *, limit: int = 50, after: str = ""
) -> finding.Page:
    """Customers by what is known of them, page by page; see `finding.search`."""
    with piping.modelled(file, of) as model:
        return finding.search(model, text, limit=limit, after=after)


def customer(file: config.Config, of: config.CustomerModel, asked: str) -> finding.Customer:
    """One customer with all that belongs to it; see `finding.customer`."""
    with piping.modelled(file, of) as model:
        return finding.customer(model, asked)


def explained(file: config.Config, of: config.CustomerModel, one: str, other: str) -> why.Answer:
    """Why two are one customer, or why they are not; see `why.explained`."""
    return _asked(file, of, lambda script, names: why.explained(script, names, one, other))


def meant(file: config.Config, of: config.CustomerModel, ids: Sequence[str]) -> tuple[parties.Party, ...]:
    """Who is meant by some ids; raises ConfigError for one that is nobody's."""
    return _asked(file, of, lambda script, names: tuple(parties.named(script, names, each) for each in ids))


def listed(
    file: config.Config, of: config.CustomerModel, *, withdrawn: bool = False
) -> tuple[decisions.Decision, ...]:
    """The decisions in force, or with those that were withdrawn, the oldest first."""
    return _asked(file, of, lambda script, names: tuple(decisions.listed(script, names, withdrawn=withdrawn)))


def previewed(
    file: config.Config,
    of: config.CustomerModel,
    identifiers: Sequence[str] = (),
    max_cluster: int | None = None,
) -> preview.Preview:
    """What other rules would make of all records; those of the configuration where nothing else is said."""
    wanted = rules.Rules(
        tuple(identifiers) or tuple(of.identifiers), of.max_cluster if max_cluster is None else max_cluster
    )
    with piping.modelled(file, of) as model:
        return preview.previewed(model, wanted)


def merge(
    file: config.Config,
    store: database.Database,
    of: config.CustomerModel,
    one: str,
    other: str,
    noted: Noted,
) -> tuple[decisions.Decision, ...]:
    """Two profiles or records are one customer; of profiles, their first records are merged.

    Raises ConfigError for an id that is nobody's, and where a decision in force says otherwise.
    """
    return _decided(
        file, store, of, "merge", noted, lambda script, names: [_pair(script, names, "together", one, other)]
    )


def apart(
    file: config.Config,
    store: database.Database,
    of: config.CustomerModel,
    one: str,
    other: str,
    noted: Noted,
) -> tuple[decisions.Decision, ...]:
    """Two profiles or records are never one customer; `one` is who leaves the other. Raises as `merge` does."""
    return _decided(
        file, store, of, "apart", noted, lambda script, names: [_pair(script, names, "apart", one, other)]
    )


def split(
    file: config.Config,
    store: database.Database,
    of: config.CustomerModel,
    asked: str,
    records: Sequence[str],
    noted: Noted,
) -> tuple[decisions.Decision, ...]:
    """Records are one customer of their own, to whom identifiers link nobody any more; without any, `asked` itself.

    Raises ConfigError where they are not the customer's, or all that it has, and as `merge` does.
    """

    def wishes(script: scripts.Script, names: Names) -> list[decisions.Wish]:
        first, *more = _leaving(script, names, asked, records)
        alone = [decisions.Wish("alone", each) for each in (first, *more)]
        return [*alone, *(decisions.Wish("together", first, each) for each in more)]

    return _decided(file, store, of, "split", noted, wishes)


def leaving(
    file: config.Config, of: config.CustomerModel, asked: str, records: Sequence[str]
) -> tuple[str, ...]:
    """The records that `split` would take away; raises ConfigError as it does."""
    return _asked(file, of, lambda script, names: _leaving(script, names, asked, records))


def withdraw(
    file: config.Config, store: database.Database, of: config.CustomerModel, decision: str, noted: Noted
) -> decisions.Decision:
    """Take a decision back, and keep who did; raises ConfigError where there is none of the name in force."""
    now = dt.datetime.now(dt.UTC)

    def work(script: scripts.Script, names: Names, intent: decisions.Intent) -> Decisions:
        return (decisions.withdraw(script, names, decision, now=now, by=noted.by, intent=intent),)

    return _told(file, store, of, "withdraw", noted, work)[0]


def resolve(
    file: config.Config, store: database.Database, of: config.CustomerModel
) -> tuple[identity.Resolved, merging.Merged]:
    """Make profiles of what was decided, and of all else that waits; raises StoreConflict while a pipeline runs."""
    busy = (
        f"A pipeline is just writing the customer model {of.schema_name}.{of.table}; what was decided shows at its "
        "end, or after its next run."
    )
    with leased.held(store, piping.lease(of), busy), piping.modelled(file, of) as model:
        return run.resolve(model, dt.datetime.now(dt.UTC), inside.claimed(model, "customers"))


_BUSY = "Somebody else is just deciding about the same customer model; give the command again."


def _lease(of: config.CustomerModel) -> str:
    """What is held by whoever decides: what contradicts must not come in between."""
    return f"{piping.lease(of)}/decisions"


def _pair(script: scripts.Script, names: Names, kind: decisions.Kind, one: str, other: str) -> decisions.Wish:
    """A decision about two, as one about the first records of each."""
    first, last = parties.named(script, names, one), parties.named(script, names, other)
    if first.records[0] == last.records[0]:
        raise errors.ConfigError(
            f"{one} and {other} are the same customer, {first.profile}; name two different ones, or two records."
        )
    return decisions.Wish(kind, first.records[0], last.records[0])


def _leaving(script: scripts.Script, names: Names, asked: str, records: Sequence[str]) -> tuple[str, ...]:
    """The records that a split takes away from a customer; raises ConfigError where they cannot be."""
    party = parties.named(script, names, asked)
    if not records:
        if len(party.records) > 1:
            raise errors.ConfigError(
                f"{asked} has {len(party.records):,} records; say with --records which of them are somebody else's."
            )
        return party.records
    every = parties.named(script, names, party.profile).records
    found = list[str]()
    for each in dict.fromkeys(records):
        taken = parties.named(script, names, each)
        if taken.profile != party.profile or len(taken.records) > 1:
            raise errors.ConfigError(
                f"{each} is no record of {asked}; `tidegate customers show {party.profile}` lists those that are."
            )
        found += taken.records
    if set(found) == set(every):
        raise errors.ConfigError(f"These are all records of {asked}; leave it at least one.")
    return tuple(dict.fromkeys(found))


def _decided(
    file: config.Config,
    store: database.Database,
    of: config.CustomerModel,
    action: str,
    noted: Noted,
    wishes: Wishes,
) -> Decisions:
    def work(script: scripts.Script, names: Names, intent: decisions.Intent) -> Decisions:
        wanted, now = wishes(script, names), dt.datetime.now(dt.UTC)
        return decisions.decide(script, names, wanted, now=now, by=noted.by, note=noted.note, intent=intent)

    return _told(file, store, of, action, noted, work)


def _told(
    file: config.Config,
    store: database.Database,
    of: config.CustomerModel,
    action: str,
    noted: Noted,
    work: Callable[[scripts.Script, Names, decisions.Intent], Decisions],
) -> Decisions:
    """Do work that decides, by one at a time, with a line of the audit log before and one after it.

    What is refused leaves none. Work that is done again, since the connection was lost, may leave several before.
    Of work that went wrong the line says what is known: that it failed, that it was done and the answer was lost,
    or that nobody knows which.
    """
    begun = list[Decisions]()

    def note(verb: str, about: Decisions, **known: str) -> None:
        said: dict[str, object] = {
            "decisions": [each.decision for each in about],
            "records": [(each.record, each.other) for each in about],
        }
        if noted.who not in ("", noted.by):
            said["as"] = noted.by
        was, became = (said, known or None) if action == "withdraw" else (None, {**said, **known})
        what = f"customers.{of.warehouse}"
        trail.note(store, noted.who or noted.by, verb, what, was, became, via=noted.via)

    def intent(about: Decisions) -> None:
        note(f"begin to {action}", about)
        begun.append(about)

    with leased.held(store, _lease(of), _BUSY):
        try:
            made = _asked(file, of, lambda script, names: work(script, names, intent))
        except Exception as error:
            if begun:
                there = None if isinstance(error, trail.LOST) else _there(file, of, action, begun[-1])
                known = {} if there is False else {"answer": "lost"}
                with contextlib.suppress(errors.StoreError):  # what went wrong matters more
                    note(action if there else f"fail to {action}", begun[-1], **known)
            raise
        note(action, made)
        return made


def _there(file: config.Config, of: config.CustomerModel, action: str, about: Decisions) -> bool | None:
    """Does the warehouse hold what was decided, though it was not told so? None where that is not told either."""
    try:
        found = {each.decision: each for each in listed(file, of, withdrawn=True)}
    except Exception:  # what went wrong before matters more
        return None
    stand = [found.get(each.decision) for each in about]
    return all(each is not None and (action != "withdraw" or each.withdrawn_at is not None) for each in stand)


def _asked(file: config.Config, of: config.CustomerModel, work: Callable[[scripts.Script, Names], T]) -> T:
    with piping.modelled(file, of) as model:
        return inside.scripted(model, lambda script: work(script, model.names))
