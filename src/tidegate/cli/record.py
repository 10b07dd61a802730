"""`tidegate record`: the whole history of a row of a push, with what each write changed."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output
from tidegate.push import compare, forms, targets
from tidegate.store import database, holds, links, operations, records

DASHBOARD = "https://dashboard.stripe.com"
PAGES = {
    "customer": "customers",
    "product": "products",
    "price": "prices",
    "coupon": "coupons",
    "promotion_code": "promotion_codes",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "payment_intent": "payments",
    "charge": "payments",
    "dispute": "disputes",
    "payout": "payouts",
    "tax_rate": "tax-rates",
}
"""Where the dashboard shows objects, by their names."""
WIDE = 60
"""Characters of a value that are shown."""

Change = tuple[str | None, str | None]


def record(
    push: str,
    key: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """Show what became of a row of a push: writes, holds, decisions.

    Of each write what the object had before and after, with the id of the request.

    Parameters
    ----------
    push
        A push of the configuration; or, without a key, the idempotency key of one of its
        requests as Stripe's logs and events show it, or an operation's id.
    key
        The key of the row.
    config_file
        The configuration; tidegate.yaml by default.
    json
        Print a JSON object, last on stdout.
    """
    file = connect.configuration(config_file)
    with contextlib.closing(connect.store(file)) as store:
        if key is None:
            push, key = _row(store, push)
        found = records.timeline(store, push, key)
        link = links.find(store, push, [key]).get(key)
        hold = holds.find(store, push, key)
        changed = {
            each.id: changes(each) for each in operations.listed(store, push=push, key=key, limit=None)
        }
    if not found and link is None:
        raise errors.ConfigError(f"nothing is known of a row {key!r} of {push}; was it pushed before?")
    if json:
        entries = [
            {**dataclasses.asdict(each), "changes": changed.get(each.operation, {}) if _ends(each) else {}}
            for each in found
        ]
        place = None if link is None else page(link)
        output.print_json({"object": link and link.target, "dashboard": place, "entries": entries})
        return 0
    _show(push, key, link, hold, found, changed)
    return 0


def _row(store: database.Database, named: str) -> tuple[str, str]:
    """The push and the row that an operation is of, by its id or its idempotency key."""
    echo = operations.echo(named)
    if echo is None and not named.startswith("op_"):
        raise errors.ConfigError(f"say which row is meant: tidegate record {named} KEY")
    operation = operations.find(store, named if echo is None else echo.operation)
    if operation is None:
        raise errors.ConfigError(
            f"there is no operation {named} in this metadata database; one that ended is kept for 90 days"
        )
    return operation.push, operation.key


def changes(operation: operations.Operation) -> dict[str, Change]:
    """What a write changed, by field: before, and after it; for one that was not done, what it would have said."""
    sent = dict(_leaves(forms.decode(operation.body.encode())))
    after = dict(_leaves(operation.after or {}))
    if operation.before is None:
        return {
            path: (None, after.get(path, value)) for path, value in sent.items() if targets.MARK not in path
        }
    if operation.method == "DELETE":
        return {}
    found = {
        path: (compare.text(value), after.get(path, sent.get(path)) or None)
        for path, value in operation.before.items()
    }
    if operation.action == "replace":  # before it is another object, of which more is kept than what changed
        found["id"] = (found["id"][0], operation.target or None)
        found = {path: (before, now) for path, (before, now) in found.items() if before != now}
    return found


def page(link: links.Link) -> str | None:
    """Where the dashboard shows an object; None where it has no page for it."""
    if link.object not in PAGES or link.gone:
        return None
    mode = "" if link.livemode else "test/"
    account = f"{link.account}/" if link.account.startswith("acct_") else ""
    return f"{DASHBOARD}/{account}{mode}{PAGES[link.object]}/{link.target}"


def _leaves(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str | None]]:
    """The fields of an object under their dotted names, as text; a list is one value."""
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from _leaves(each, f"{above}{name}.")
        else:
            yield f"{above}{name}", compare.text(each)


def _ends(entry: records.Entry) -> bool:
    """Does a line tell how an operation ended? What it changed stands there."""
    return entry.what in operations.STATUSES and entry.what != "sent"


def _show(
    push: str,
    key: str,
    link: links.Link | None,
    hold: holds.Hold | None,
    found: Sequence[records.Entry],
    changed: Mapping[str, Mapping[str, Change]],
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = output.console()
    if link is None:
        screen.print(f"{key} of {push}: it has no object yet", markup=False)
    else:
        gone = {"": "", "deleted": ", which it deleted", "missing": ", which somebody deleted"}[link.gone]
        mode = "live mode" if link.livemode else "test mode"
        screen.print(
            f"{key} of {push}: {link.object} {link.target} of {link.account}, {mode}{gone}", markup=False
        )
        if (place := page(link)) and (hold is None or hold.kind != "gone"):
            screen.print(place, markup=False, soft_wrap=True)
    if hold is not None:
        screen.print(f"{hold.kind}, {hold.state}: {hold.text}", markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("when (UTC)", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("", overflow="fold")
    last = ""
    for each in found:
        when = f"{dt.datetime.fromtimestamp(each.at, dt.UTC):%Y-%m-%d %H:%M:%S}"
        told = [each.text] if each.text else []
        if _ends(each):
            told += [f"  {path}: {_change(*pair)}" for path, pair in changed.get(each.operation, {}).items()]
        if each.operation and each.operation != last:
            told.append(f"  {each.operation}")
        last = each.operation or last
        table.add_row(when, each.what, Text("\n".join(told)))
    screen.print(table)
    if hold is not None:
        screen.print(f"`tidegate inbox {push} {key}` shows what can be done.", markup=False)


def _change(before: str | None, after: str | None) -> str:
    return _cut(after) if before is None else f"{_cut(before)} -> {_cut(after)}"


def _cut(value: str | None) -> str:
    value = value or "(empty)"
    return value if len(value) <= WIDE else f"{value[: WIDE - 1]}…"
