"""`tidegate customers`: profiles of the customer model, why records are one, and what people decide about that."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import Parameter

from tidegate import config, errors
from tidegate.cli import asking, connect, output, profiles
from tidegate.views import saying

if TYPE_CHECKING:
    from tidegate.customers import decisions
    from tidegate.engine import modelling

Action = Literal["list", "show", "why", "merge", "apart", "split", "withdraw", "decisions", "preview"]

TAKES = {
    "list": (0, 1, "list [TEXT]"),
    "show": (1, 1, "show ID"),
    "why": (2, 2, "why ID ID"),
    "merge": (2, 2, "merge ID ID"),
    "apart": (2, 2, "apart ID ID"),
    "split": (1, 1, "split ID [--records KEY,KEY]"),
    "withdraw": (1, 1, "withdraw DECISION"),
    "decisions": (0, 0, "decisions"),
    "preview": (0, 0, "preview --identifiers email,phone"),
}
"""How many ids an action takes at least and at most, and how it is written."""
ONLY = {
    "--limit": ("list",),
    "--after": ("list",),
    "--records": ("split",),
    "--identifiers": ("preview",),
    "--max-cluster": ("preview",),
    "--withdrawn": ("decisions",),
    "--note": ("merge", "apart", "split"),
    "--as": ("merge", "apart", "split", "withdraw"),
    "--now": ("merge", "apart", "split", "withdraw"),
    "--yes": ("merge", "apart", "split", "withdraw"),
}
"""Which actions a flag goes with."""


def customers(
    action: Action,
    *ids: str,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    warehouse: str | None = None,
    limit: int | None = None,
    after: str | None = None,
    records: str | None = None,
    identifiers: str | None = None,
    max_cluster: int | None = None,
    withdrawn: bool = False,
    note: str | None = None,
    by: Annotated[str | None, Parameter(name="--as")] = None,
    now: bool = False,
    yes: bool = False,
    json: bool = False,
) -> int:
    """Find customers of the model, ask why records are one, and decide.

    `list` finds customers by a name, an e-mail address or an id, `show` tells all
    that is known of one. `why` tells what made two records or profiles one
    customer, or what keeps them apart. `merge` makes two one, `apart` keeps the
    first away from the second, `split` makes records a customer of their own;
    `withdraw` takes such a decision back, and `decisions` lists those in force.
    Decisions show after the next run of a pipeline. `preview` works out what
    other identifiers would change, and changes nothing.

    Parameters
    ----------
    action
        What to do.
    ids
        Whom it is about: a profile or a former one, a record by its key or
        its Stripe id; with list a text, with withdraw a decision.
    config_file
        The configuration; tidegate.yaml by default.
    warehouse
        The warehouse of the customer model, where there are several.
    limit
        With list: how many customers; 50 by default.
    after
        With list: go on where the page before ended, as it said.
    records
        With split: the records that go, comma separated; they stay together.
    identifiers
        With preview: other identifiers, strongest first, comma separated.
    max_cluster
        With preview: another limit of records that become one customer.
    withdrawn
        With decisions: those that were taken back, too.
    note
        Why it is decided so, for whoever looks later.
    by
        Who decides; the user and machine by default.
    now
        Bring the decision into the profiles at once, not with the next run.
    yes
        Do not ask.
    json
        Print a JSON object, last on stdout.
    """
    given = {
        "--limit": limit is not None,
        "--after": after is not None,
        "--records": records is not None,
        "--identifiers": identifiers is not None,
        "--max-cluster": max_cluster is not None,
        "--withdrawn": withdrawn,
        "--note": note is not None,
        "--as": by is not None,
        "--now": now,
        "--yes": yes,
    }
    _check(action, ids, [flag for flag, is_given in given.items() if is_given])
    if limit is not None and not 1 <= limit <= 1_000:
        raise errors.ConfigError("--limit must be 1 to 1,000")
    if max_cluster is not None and not 2 <= max_cluster <= 10_000:
        raise errors.ConfigError("--max-cluster must be 2 to 10,000")
    from tidegate.engine import modelling

    file = connect.configuration(config_file)
    of = modelling.chosen(file, warehouse)
    match action:
        case "list":
            text = ids[0] if ids else ""
            page = modelling.search(file, of, text, limit=limit or 50, after=after or "")
            return profiles.page(page, text, as_json=json)
        case "show":
            return profiles.one(modelling.customer(file, of, ids[0]), as_json=json)
        case "why":
            return profiles.why(modelling.explained(file, of, *ids), as_json=json)
        case "decisions":
            return profiles.decided(modelling.listed(file, of, withdrawn=withdrawn), as_json=json)
        case "preview":
            wanted = _words(identifiers)
            made = modelling.previewed(file, of, wanted, max_cluster)
            used = wanted or list(of.identifiers)
            return profiles.previewed(made, used, max_cluster or of.max_cluster, as_json=json)
        case _:
            somebody = _somebody()
            noted = modelling.Noted(by or somebody, note or "", "cli", somebody)
            return _decide(file, of, action, ids, _words(records), noted, now=now, yes=yes, as_json=json)


def _check(action: Action, ids: Sequence[str], flags: Sequence[str]) -> None:
    """Raises ConfigError for ids and flags that do not go with an action."""
    least, most, form = TAKES[action]
    if not least <= len(ids) <= most:
        raise errors.ConfigError(f"that is written so: tidegate customers {form}")
    for flag in flags:
        if action not in ONLY[flag]:
            raise errors.ConfigError(f"{flag} goes with {' and '.join(ONLY[flag])}")


def _decide(
    file: config.Config,
    of: config.CustomerModel,
    action: Action,
    ids: Sequence[str],
    records: Sequence[str],
    noted: modelling.Noted,
    *,
    now: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Ask, note what is decided, and bring it into the profiles where that is wished."""
    from tidegate.engine import modelling

    if not yes:
        said = _question(file, of, action, ids, records)
        asking.confirm(f"{said}\nNote this decision?", action=action, undone="nothing was decided")
    with contextlib.closing(connect.store(file)) as store:
        deciding: dict[str, Callable[[], Sequence[decisions.Decision]]] = {
            "merge": lambda: modelling.merge(file, store, of, ids[0], ids[1], noted),
            "apart": lambda: modelling.apart(file, store, of, ids[0], ids[1], noted),
            "split": lambda: modelling.split(file, store, of, ids[0], records, noted),
            "withdraw": lambda: [modelling.withdraw(file, store, of, ids[0], noted)],
        }
        made = deciding[action]()
        for each in made:
            output.say(profiles.noted(each, is_withdrawn=action == "withdraw"))
        came = modelling.resolve(file, store, of) if now else None
    if as_json:
        told = [msgspec.to_builtins(each) for each in made]
        output.print_json({"decisions": told, "resolved": came and msgspec.to_builtins(came[0])})
    elif came is None:
        output.say("it shows after the next run of a pipeline, or at once with --now")
    else:
        output.say(profiles.resolved(came[0]))
    return 0


def _question(
    file: config.Config, of: config.CustomerModel, action: Action, ids: Sequence[str], records: Sequence[str]
) -> str:
    """What is about to be decided; raises ConfigError where that cannot be."""
    from tidegate.engine import modelling

    if action == "withdraw":
        found = {each.decision: each for each in modelling.listed(file, of)}.get(ids[0])
        return (
            "This withdraws a decision." if found is None else f"This withdraws: {profiles.sentence(found)}"
        )
    if action == "split":
        going = modelling.leaving(file, of, ids[0], records)
        return f"This makes a customer of its own of {saying.few(going)}, whom identifiers link to nobody."
    first, last = modelling.meant(file, of, ids)
    both = f"{profiles.party(first)} and {profiles.party(last)}"
    return f"This makes one customer of {both}." if action == "merge" else f"This keeps apart {both}."


def _somebody() -> str:
    """Who sits here: user@machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    return f"{user}@{socket.gethostname()}"


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
