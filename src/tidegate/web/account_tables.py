"""The tables of Stripe accounts: the connections, and the accounts connected to one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tidegate.engine import place as places
from tidegate.views import accounts as views
from tidegate.views import connected_accounts
from tidegate.web import frame, standings, tables

PATH = "/accounts"
ADD = f"{PATH}/-/add"
HEADINGS = ("name", "mode", "key", "accounts", "known", "webhook_endpoints", "flows")


def lines(found: list[views.Account]) -> Iterator[tuple[Any, ...]]:
    """The same as lines of a file."""
    for each in found:
        yield each.name, each.mode, each.key, each.whose, each.known, each.endpoints, " ".join(each.flows)


def table(found: list[views.Account], asked: tables.Asked) -> tables.Table:
    """All connections."""
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "name": each.name,
                "mode": parts.mode(each.mode.upper()),
                "key": parts.secret(each.last4) if each.key else "nobody has signed in",
                "accounts": each.whose,
                "known": each.known,
                "refused": parts.chip("warn", f"{each.refused:,} streams") if each.refused else "",
                "webhooks": each.endpoints or None,
                "flows": len(each.flows),
            },
            f"{PATH}/{each.name}",
        )
        for each in found
    ]
    columns = (
        tables.Column("name", "Name"),
        tables.Column("mode", "Mode"),
        tables.Column("key", "Key"),
        tables.Column(
            "accounts", "Accounts", hint="Whose data is pulled: the key's own, or connected accounts' too"
        ),
        tables.Column("known", "Pulled", align="right", hint="Accounts of which something was pulled"),
        tables.Column("refused", "Lacks permission"),
        tables.Column("webhooks", "Webhooks", align="right", hide=True),
        tables.Column("flows", "Flows", align="right", hide=True),
    )
    empty = tables.Empty(
        "No Stripe account yet.",
        "Add one by a restricted key; it is tried at once, and kept encrypted.",
        "Add an account",
        ADD,
    )
    filters = [tables.Choice("mode", "Mode", (("test", "Test"), ("live", "Live")))]
    return tables.Table(
        "accounts", columns, rows, len(rows), None, asked, empty, filters, caption="Connections to Stripe"
    )


def connected(found: connected_accounts.Several, asked: tables.Asked) -> tables.Table:
    """Accounts of which something was pulled."""
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "account": each.account,
                "streams": each.streams,
                "failed": parts.chip("failed", f"{each.failed:,}") if each.failed else "",
                "refused": parts.chip("warn", f"{each.refused:,}") if each.refused else "",
                "noted": standings.when(each.noted_at),
            }
        )
        for each in found.items
    ]
    columns = (
        tables.Column("account", "Account"),
        tables.Column("streams", "Streams", align="right"),
        tables.Column("failed", "Failed"),
        tables.Column("refused", "Lacks permission"),
        tables.Column("noted", "Oldest change", align="right", hide=True),
    )
    empty = tables.Empty(
        "Nothing was pulled over this connection yet.",
        "Choose streams to pull.",
        "Choose streams",
        "/streams",
    )
    return tables.Table(
        "connected", columns, rows, found.total, found.next, asked, empty, caption="Accounts that were pulled"
    )


def at_stripe(found: connected_accounts.Listed, asked: tables.Asked) -> tables.Table:
    """Accounts as Stripe lists them."""
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "account": each.account,
                "name": each.name,
                "country": each.country,
                "enabled": parts.chip("ok", "Charges") if each.enabled else parts.chip("off", "No charges"),
                "created": standings.when(each.created),
            }
        )
        for each in found.items
    ]
    columns = (
        tables.Column("account", "Account"),
        tables.Column("name", "Business", wide=True),
        tables.Column("country", "Country", hide=True),
        tables.Column("enabled", "May take"),
        tables.Column("created", "Made", align="right", hide=True),
    )
    empty = tables.Empty("Stripe knows no connected account of this key.")
    return tables.Table(
        "at-stripe",
        columns,
        rows,
        None,
        found.next,
        asked,
        empty,
        csv=False,
        caption="Connected accounts at Stripe",
    )


def everyone(place: places.Place, name: str, search: str) -> Iterator[tuple[Any, ...]]:
    """All accounts of which something was pulled, as lines of a file."""
    after: str | None = ""
    while after is not None:
        found = connected_accounts.connected(place, name, search=search, after=after, limit=1000)
        for each in found.items:
            yield each.account, each.streams, each.refused, each.failed
        after = found.next
