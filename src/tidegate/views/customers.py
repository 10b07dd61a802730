"""Customers: found, looked at, why records are one, what people decide about that, and the rules.

Every function that looks into the warehouse has a bound in time, see `outside`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tidegate import config, errors, views
from tidegate.engine import editing, modelling, piping
from tidegate.engine import place as places
from tidegate.store import database, history
from tidegate.views import outside, saying

if TYPE_CHECKING:
    from tidegate.customers import decisions, finding, identity, preview
    from tidegate.customers import why as reasons

T = TypeVar("T")
Action = Literal["merge", "apart", "split"]

KIND = "customer_model"
PREVIEW = 180.0
"""Seconds that working out other rules may take: as long as a resolution of all records."""
PAGE = 500
"""Customers that are read at a time where all are."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a customer, at unix seconds; `kind` as of a chip."""

    at: float
    title: str
    text: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A property of a customer, and the pipelines whose records say the same."""

    name: str
    value: Any
    pipelines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided, and what came of it where it was brought into the profiles at once.

    `waits` says why it was not, though that was wished.
    """

    made: tuple[decisions.Decision, ...]
    resolved: identity.Resolved | None = None
    waits: str = ""


# --- looking ---


def models(place: places.Place) -> list[config.CustomerModel]:
    """The customer models of the configuration, one for each warehouse that has one."""
    return list({of.warehouse: of for of in piping.models(place.file).values()}.values())


def model(place: places.Place, warehouse: str = "") -> config.CustomerModel:
    """The customer model in a warehouse, or the first one; raises Unknown where there is none."""
    found = models(place)
    if not found:
        raise views.Unknown("There is no customer model yet: a pipeline has to fill one.")
    if not warehouse:
        return found[0]
    for each in found:
        if each.warehouse == warehouse:
            return each
    raise views.Unknown(f"There is no customer model in a warehouse {warehouse!r}.")


def search(
    place: places.Place, of: config.CustomerModel, text: str = "", *, limit: int = 50, after: str = ""
) -> finding.Page:
    """Customers by what is known of them, page by page in the order of their ids."""
    return _look(of, lambda: modelling.search(place.file, of, text, limit=limit, after=after))


def each(place: places.Place, of: config.CustomerModel, text: str = "") -> Iterator[finding.Found]:
    """All of them, read page by page."""
    after = ""
    while True:
        some = search(place, of, text, limit=PAGE, after=after)
        yield from some.customers
        if some.after is None:
            return
        after = some.after


def known(place: places.Place, of: config.CustomerModel) -> int | None:
    """How many customers the model had when a pipeline last counted them; None where none has."""
    names = [
        name
        for name in place.file.pipelines
        if piping.lease(piping.model(place.file, name)) == piping.lease(of)
    ]

    def work(session: database.Session) -> list[tuple[float, int]]:
        found = []
        for name in names:
            run = history.last(session, f"pipeline:{name}")
            count = None if run is None else run.totals.get("profiles")
            if run is not None and run.finished_at is not None and isinstance(count, int) and count:
                found.append((run.finished_at, count))
        return found

    return max(place.store.transact(work), default=(0.0, None))[1]


def get(place: places.Place, of: config.CustomerModel, asked: str) -> finding.Customer:
    """One customer with all that belongs to it; raises Unknown for an id that is nobody's."""
    return _look(of, lambda: _unknown(lambda: modelling.customer(place.file, of, asked)))


def explained(place: places.Place, of: config.CustomerModel, one: str, other: str) -> reasons.Answer:
    """Why two are one customer, or why they are not; raises Unknown for an id that is nobody's."""
    return _look(of, lambda: _unknown(lambda: modelling.explained(place.file, of, one, other)))


def decided(
    place: places.Place, of: config.CustomerModel, *, withdrawn: bool = False
) -> tuple[decisions.Decision, ...]:
    """The decisions in force, or with those that were withdrawn, the newest first."""
    return _look(of, lambda: modelling.listed(place.file, of, withdrawn=withdrawn))[::-1]


def attributes(found: finding.Customer) -> list[Attribute]:
    """What is known of a customer, each with the pipelines whose records say the same."""
    told = []
    for name, value in found.properties.items():
        said = (each.pipeline for each in found.records if _says(each.properties.get(name), value))
        told.append(Attribute(name, value, tuple(dict.fromkeys(said))))
    return told


def _says(said: Any, value: Any) -> bool:
    """Does a record say what the profile has? Of an array, one of its elements."""
    if isinstance(value, list) and isinstance(said, list):
        return any(each in value for each in said)
    return value is not None and said == value


def timeline(found: finding.Customer) -> list[Event]:
    """What happened to a customer, the newest first."""
    told = [] if found.first_seen_at is None else [Event(_at(found.first_seen_at), "First seen")]
    if found.updated_at is not None:
        told.append(Event(_at(found.updated_at), "Changed last"))
    for each in found.records:
        if each.since is not None:
            text = "" if each.home == found.profile else f"It came with {each.home}."
            told.append(Event(_at(each.since), f"Record {each.record}", text, "ok"))
    for decision in found.decisions:
        told.append(Event(_at(decision.decided_at), saying.sentence(decision), decision.note, "warn"))
        if decision.withdrawn_at is not None:
            by = f"by {decision.withdrawn_by}" if decision.withdrawn_by else ""
            told.append(Event(_at(decision.withdrawn_at), f"Withdrawn: {saying.what(decision)}", by))
    return sorted(told, key=lambda event: event.at, reverse=True)


def _at(moment: dt.datetime) -> float:
    return moment.timestamp() if moment.tzinfo else moment.replace(tzinfo=dt.UTC).timestamp()


# --- deciding ---


def question(
    place: places.Place,
    of: config.CustomerModel,
    action: Action,
    one: str,
    other: str = "",
    records: Sequence[str] = (),
) -> str:
    """What is about to be decided, in a sentence; raises ConfigError where it cannot be."""
    if action == "split":
        going = _look(of, lambda: modelling.leaving(place.file, of, one, records))
        return f"This makes a customer of its own of {saying.few(going)}, whom identifiers link to nobody any more."
    first, last = _look(of, lambda: modelling.meant(place.file, of, (one, other)))
    if first.profile == last.profile and action == "merge" and first.records == last.records:
        raise errors.ConfigError(
            f"{one} and {other} are the same customer, {first.profile}; name two different ones."
        )
    both = " and ".join(
        f"{each.asked} ({each.profile}: {saying.few(each.records)})" for each in (first, last)
    )
    return f"This makes one customer of {both}." if action == "merge" else f"This keeps apart {both}."


def decide(
    place: places.Place,
    who: views.Who,
    of: config.CustomerModel,
    action: Action,
    one: str,
    other: str = "",
    records: Sequence[str] = (),
    *,
    note: str = "",
    now: bool = False,
) -> Decided:
    """Two are one customer, or never are, or records are a customer of their own.

    With `now` it shows in the profiles at once, unless a pipeline writes them just then. Raises ConfigError for an
    id that is nobody's, and where a decision in force says otherwise.
    """
    noted = modelling.Noted(who.name, note, who.via)
    work: dict[Action, Callable[[], tuple[decisions.Decision, ...]]] = {
        "merge": lambda: modelling.merge(place.file, place.store, of, one, other, noted),
        "apart": lambda: modelling.apart(place.file, place.store, of, one, other, noted),
        "split": lambda: modelling.split(place.file, place.store, of, one, records, noted),
    }
    made = _look(of, work[action])
    return _shown(place, of, made, now)


def withdraw(
    place: places.Place, who: views.Who, of: config.CustomerModel, decision: str, *, now: bool = False
) -> Decided:
    """Take a decision back; raises Unknown where there is none of the name in force."""
    noted = modelling.Noted(who.name, via=who.via)
    found = _look(
        of, lambda: _unknown(lambda: modelling.withdraw(place.file, place.store, of, decision, noted))
    )
    return _shown(place, of, (found,), now)


def resolve(place: places.Place, of: config.CustomerModel) -> identity.Resolved:
    """Make profiles of what waits; raises StoreConflict while a pipeline runs."""
    return _look(of, lambda: modelling.resolve(place.file, place.store, of)[0], PREVIEW)


def _shown(
    place: places.Place, of: config.CustomerModel, made: tuple[decisions.Decision, ...], now: bool
) -> Decided:
    if not now:
        return Decided(made)
    try:
        return Decided(made, resolve(place, of))
    except errors.TidegateError as error:
        return Decided(made, waits=str(error))


# --- rules ---


def previewed(
    place: places.Place, of: config.CustomerModel, identifiers: Sequence[str], max_cluster: int
) -> preview.Preview:
    """What other rules would make of all records; nothing is changed. Raises ConfigError for wrong rules."""
    _check(of, identifiers, max_cluster)
    return _look(of, lambda: modelling.previewed(place.file, of, identifiers, max_cluster), PREVIEW)


def keep_rules(
    place: places.Place,
    who: views.Who,
    of: config.CustomerModel,
    identifiers: Sequence[str],
    max_cluster: int,
    version: int | None,
    *,
    admin: bool = False,
) -> editing.Change:
    """Have other rules; the next run goes by them. Raises ConfigError, and StoreConflict as `editing.change`."""
    _check(of, identifiers, max_cluster)
    part = editing.get(place, KIND)
    before: Mapping[str, Any] = {"warehouse": of.warehouse} if part is None else part.body
    body = {**before, "identifiers": list(identifiers), "max_cluster": max_cluster}
    made = editing.change(place, who.name, KIND, "", body, version, via=who.via, admin=admin)
    place.look()
    return made


def _check(of: config.CustomerModel, identifiers: Sequence[str], max_cluster: int) -> None:
    from tidegate.shape import profile

    names = profile.of(of).names
    if not identifiers:
        raise errors.ConfigError(
            "Give one identifier at least: without any, no two records would be one customer."
        )
    for each in identifiers:
        if each not in names:
            raise errors.ConfigError(
                f"{each} is no property of the customer model; it has {', '.join(names)}."
            )
    if len(set(identifiers)) != len(identifiers):
        raise errors.ConfigError("An identifier is given twice; each has one place in the order.")
    if not 2 <= max_cluster <= 10_000:
        raise errors.ConfigError("A customer may have 2 to 10,000 records at most; give a number of these.")


def _look(of: config.CustomerModel, look: Callable[[], T], patience: float = outside.PATIENCE) -> T:
    return outside.warehouse(of.warehouse, look, patience=patience)


def _unknown(look: Callable[[], T]) -> T:
    """The same; an id that is nobody's is Unknown."""
    try:
        return look()
    except errors.ConfigError as error:
        raise views.Unknown(str(error)) from None
