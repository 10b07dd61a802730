"""What `tidegate check` says of pushes, and of a key of which nothing is configured yet."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from tidegate import config
from tidegate.cli import connect, output
from tidegate.engine import place as places
from tidegate.engine import readiness
from tidegate.stripe import client
from tidegate.views import checks
from tidegate.warehouse import base

SIGNS = {"yes": "[green]✓[/green]", "no": "[red]✗[/red]", "unknown": "?"}


def reports(file: config.Config, names: Sequence[str], config_file: Path | None) -> list[readiness.Report]:
    """Whether these pushes are ready."""
    folder = places.state(config_file)
    with contextlib.ExitStack() as opened:
        store = None
        if connect.has_store(file):
            store = opened.enter_context(contextlib.closing(connect.store(file)))
        return [checks.push(file, name, folder, store) for name in names]


def show(found: readiness.Report) -> None:
    """A report on the screen: every step, and what it will do without."""
    console = output.console(markup=True)
    console.print(f"[bold]{found.push}[/bold]: a push")
    for step in found.steps:
        console.print(f"  {_sign(step)} {step.name}: {_plain(step.detail)}")
    for sentence in found.without:
        console.print(f"  - {_plain(sentence)}")
    _grant(readiness.grants(found.key), live=found.key.livemode)


def show_key(api_key: str, found: readiness.Key) -> None:
    """A key on the screen: whose it is, and what it may read and write."""
    console = output.console(markup=True)
    mode = "live" if found.livemode else "test"
    whose = found.account or "which does not tell its account"
    console.print(f"[bold]{client.masked(api_key)}[/bold]: account {whose}, {mode} mode")
    if not found.restricted:
        console.print("  It is a secret key, which may do everything; a restricted key would do for a push.")
    rights: dict[str, dict[str, readiness.Right]] = {}
    for each in found.rights:
        rights.setdefault(each.object, {})[each.kind] = each
    table = Table("object", "read", "write", "permission", box=None, padding=(0, 2))
    for name, both in rights.items():
        reads, writing = both.get("read"), both.get("write")
        wanted = [each.permission for each in (reads, writing) if each and each.status == "no"]
        table.add_row(
            name,
            SIGNS[reads.status] if reads else "",
            SIGNS[writing.status] if writing else "",
            ", ".join(wanted),
        )
    console.print(table)
    events = found.may("read", readiness.EVENTS)
    if events is not None and events.status == "no":
        console.print(f"  - {readiness.blind('all objects that it writes')}")
    if any(each.status == "unknown" for each in found.rights):
        console.print("  ? is not known until the first write.")
    if found.restricted:
        _where(live=found.livemode)


def _grant(missing: Mapping[str, list[str]], *, live: bool) -> None:
    for permission, objects in sorted(missing.items()):
        output.console(markup=True).print(f"  - grant {permission} for {', '.join(objects)}")
    if missing:
        _where(live=live)


def _where(*, live: bool) -> None:
    part = "" if live else "test/"
    address = f"https://dashboard.stripe.com/{part}apikeys"
    output.console(markup=True).print(f"  Permissions of a restricted key: {address}, Edit key.")


def _sign(step: base.Check) -> str:
    return SIGNS["yes" if step.ok else "no"]


def _plain(text: str) -> str:
    from rich import markup

    return markup.escape(text)
