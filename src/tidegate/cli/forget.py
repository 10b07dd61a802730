"""`tidegate forget cus_...`: a customer's personal data out of the warehouses and what pushes keep, for good."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output
from tidegate.engine import place as places
from tidegate.privacy import erase
from tidegate.store import forgetting
from tidegate.views import forgets


def forget(
    *customers: str,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    to: str | None = None,
    schema: str = "stripe",
    account: str | None = None,
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> int:
    """Erase customers' personal data from the warehouse, for good.

    Their rows in `customers` become tombstones; amounts, times, references and
    states of everything else stay. Later pulls bring nothing of it back, and pushes
    write nothing to them any more. Asks before it acts. Deleting somebody in Stripe
    is another matter.

    Parameters
    ----------
    customers
        Ids of customers: `cus_...`.
    config_file
        The configuration, whose warehouses and pushes are all gone through; tidegate.yaml by default.
    to
        Warehouse, instead of a configuration: duckdb:///FILE, postgresql://..., md:...
    schema
        Schema of the tables, with --to.
    account
        Only this account's, `acct_...`; every account that knows the customer by default.
    yes
        Do not ask.
    dry_run
        Change nothing; count the rows that would change.
    json
        Print one JSON object, last on stdout.
    """
    if not customers:
        raise errors.ConfigError("say who is to be forgotten: tidegate forget cus_...")
    with contextlib.ExitStack() as opened:
        file, store = None, None
        if to is not None:
            if config_file is not None:
                raise errors.ConfigError("--to stands for a configuration; give the one or the other")
            chosen = [forgets.target(to, schema)]
        elif schema != "stripe":
            raise errors.ConfigError("--schema goes with --to; with a configuration, write it in the file")
        else:
            file = connect.configuration(config_file)
            chosen = forgets.targets(file, places.state(config_file))
        if not (yes or dry_run):
            _confirm(customers, chosen)
        if file is not None and (file.pushes or file.pipelines) and connect.has_store(file):
            store = opened.enter_context(contextlib.closing(connect.store(file)))
        told = 0
        try:
            for _, done in forgets.steps(
                chosen,
                customers,
                account or "",
                file=file,
                store=store,
                folder=places.state(config_file),
                dry_run=dry_run,
            ):
                if not json:
                    for name, found in done.warehouses[told:]:
                        _tell(name, found, dry_run)
                told = len(done.warehouses)
        except KeyboardInterrupt:
            undone = "nothing was changed" if dry_run else "the same command erases what is left"
            raise KeyboardInterrupt(undone) from None
    if json:
        output.print_json(done.as_json())
        return 3 if done.undecided else 0
    if done.models:
        did = "would be erased" if dry_run else "erased"
        output.say(
            f"the customer model: {', '.join(f'{n:,} of {what}' for what, n in done.models.items())} {did}"
        )
    if done.pushes is not None:
        _tell_pushes(done.pushes, dry_run=dry_run)
    return 3 if done.undecided else 0


def _tell_pushes(written: forgetting.Forgotten, *, dry_run: bool) -> None:
    """What was done to the metadata database, by table."""
    did = "would be changed" if dry_run else "changed"
    some = ", ".join(f"{count:,} {table}" for table, count in sorted(written.rows.items()))
    if some:
        output.say(f"what pushes noted: {some} {did}")
    for push, count in sorted(written.open.items()):
        output.say(
            f"{push} has {count:,} undecided operations of theirs, which stay until that is known; run "
            f"`tidegate push {push}`, then forget them once more"
        )


def _confirm(customers: Sequence[str], chosen: Sequence[forgets.Target]) -> None:
    """Ask whoever sits there; raises ConfigError where nobody does, or does not agree."""
    if not sys.stdin.isatty():
        raise errors.ConfigError(
            "forget asks before it acts, and there is no terminal to ask on; look with --dry-run, then give --yes"
        )
    who = customers[0] if len(customers) == 1 else f"{len(customers)} customers"
    where = ", ".join(each.name for each in chosen)
    question = f"This erases the personal data of {who} in {where} for good.\nType {forgets.WORD} to go on: "
    try:
        print(question, end="", file=sys.stderr, flush=True)
        typed = sys.stdin.readline()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise KeyboardInterrupt("nothing was erased") from None
    if typed.strip() != forgets.WORD:
        raise errors.ConfigError("not confirmed; nothing was erased")


def _tell(name: str, found: erase.Erased, dry_run: bool) -> None:
    """What was done to one warehouse: rows per table, never what stood in them."""
    from rich import box
    from rich.table import Table

    did = "would be erased" if dry_run else "erased"
    if found.rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=name, title_justify="left")
        table.add_column("table")
        table.add_column(f"rows {did}", justify="right")
        for each, count in sorted(found.rows.items()):
            table.add_row(each, f"{count:,}")
        output.console().print(table)
    for customer, accounts in found.accounts.items():
        if not accounts:
            noted = "" if dry_run else "; noted as forgotten all the same, so that no later pull brings them"
            output.say(f"{name}: {customer} is nowhere{noted}")
    if not found.rows and any(found.accounts.values()):
        output.say(f"{name}: nothing personal is left of them")
    for each in found.blind:
        output.say(
            f"{name}: the table {each} was pulled without the columns that tell whose a row is, so rows of theirs "
            "may still stand there; pull it again with the column `customer`, or drop it"
        )
