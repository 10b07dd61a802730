"""`tidegate forget cus_...`: a customer's personal data out of the warehouses and what pushes keep, for good."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import catalog, errors, warehouse
from tidegate.cli import connect, output
from tidegate.privacy import erase
from tidegate.pull import settings
from tidegate.store import forgetting
from tidegate.warehouse import base, duckdb

WORD = "forget"
"""What a person types to confirm."""


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
    places = _places(config_file, to, schema)
    if not (yes or dry_run):
        _confirm(customers, places)
    done = []
    written = _forget_pushes(config_file, to, customers, account or "", dry_run=dry_run)
    for place in places:
        opened = place.open()
        try:
            found = erase.erase(
                opened,
                customers,
                tables=place.tables,
                account=account or "",
                hard=place.hard,
                dry_run=dry_run,
            )
        except KeyboardInterrupt:
            undone = "nothing was changed" if dry_run else "the same command erases what is left"
            raise KeyboardInterrupt(undone) from None
        finally:
            opened.close()
        done.append((place.name, found))
        if not json:
            _tell(place.name, found, dry_run)
    modelled = _forget_models(config_file, to, customers, account or "", dry_run=dry_run)
    if json:
        listed = [{"name": name, **found.as_json()} for name, found in done]
        told: dict[str, object] = {}
        if written is not None:
            told["pushes"] = {"tables": written.rows, "undecided": written.open}
        if modelled is not None:
            told["customer_model"] = modelled
        output.print_json({"dry_run": dry_run, "warehouses": listed, **told})
        return 3 if written is not None and written.open else 0
    if modelled:
        did = "would be erased" if dry_run else "erased"
        output.say(
            f"the customer model: {', '.join(f'{n:,} of {what}' for what, n in modelled.items())} {did}"
        )
    if written is not None:
        _tell_pushes(written, dry_run=dry_run)
    return 3 if written is not None and written.open else 0


def _forget_pushes(
    config_file: Path | None, to: str | None, customers: Sequence[str], account: str, *, dry_run: bool
) -> forgetting.Forgotten | None:
    """Forget them in the metadata database; None where there are no pushes, or no database yet."""
    if to is not None:
        return None
    from tidegate.engine import forgets
    from tidegate.engine import place as places

    file = connect.configuration(config_file)
    if not file.pushes or not connect.has_store(file):
        return None
    for id in customers:
        erase.check(id)
    with contextlib.closing(connect.store(file)) as store:
        return forgets.forget(store, places.state(config_file), customers, account=account, dry_run=dry_run)


def _forget_models(
    config_file: Path | None, to: str | None, customers: Sequence[str], account: str, *, dry_run: bool
) -> dict[str, int] | None:
    """Forget them in the customer model; None where there are no pipelines, or none ever ran."""
    if to is not None:
        return None
    file = connect.configuration(config_file)
    if not file.pipelines or not connect.has_store(file):
        return None
    from tidegate.engine import forgets

    with contextlib.closing(connect.store(file)) as store:
        return forgets.models(file, store, customers, account=account, dry_run=dry_run)


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


@dataclass(frozen=True, slots=True)
class _Place:
    """One warehouse, with the tables that pulls write there and those of them that lose deleted rows."""

    name: str
    open: Callable[[], base.Warehouse]
    tables: Mapping[str, Sequence[str]]
    hard: frozenset[str]


def _places(config_file: Path | None, to: str | None, schema: str) -> list[_Place]:
    """The warehouses to go through, each once, with the tables of all pulls into it."""
    names = list(catalog.load().streams)
    if to is not None:
        if config_file is not None:
            raise errors.ConfigError("--to stands for a configuration; give the one or the other")
        own = {name: [name] for name in names}
        return [_Place(warehouse.named(to), lambda: warehouse.open_url(to, schema=schema), own, frozenset())]
    if schema != "stripe":
        raise errors.ConfigError("--schema goes with --to; with a configuration, write it in the file")
    file = connect.configuration(config_file)
    jobs: dict[str, list[settings.Job]] = {}
    for job in settings.jobs(file) if file.pulls or not (file.pushes or file.pipelines) else ():
        jobs.setdefault(file.pulls[job.name].warehouse, []).append(job)
    places = []
    for name, mine in jobs.items():
        tables = {stream: {stream} for stream in names}
        hard = set()
        for job in mine:
            for stream, choice in job.options.choices.items():
                tables[stream].add(choice.table or stream)
                if choice.hard:
                    hard.add(choice.table or stream)
        listed = {stream: sorted(found) for stream, found in tables.items()}
        places.append(_Place(name, mine[0].open, listed, frozenset(hard)))
    if not file.pushes:
        return places
    from tidegate.engine import forgets, place

    own = {name: [name] for name in names}
    for path in forgets.mirrors(place.state(config_file)):
        opening = functools.partial(duckdb.DuckDB, path)
        places.append(_Place(f"the copy {path.stem}", opening, own, frozenset()))
    return places


def _confirm(customers: Sequence[str], places: Sequence[_Place]) -> None:
    """Ask whoever sits there; raises ConfigError where nobody does, or does not agree."""
    if not sys.stdin.isatty():
        raise errors.ConfigError(
            "forget asks before it acts, and there is no terminal to ask on; look with --dry-run, then give --yes"
        )
    who = customers[0] if len(customers) == 1 else f"{len(customers)} customers"
    where = ", ".join(place.name for place in places)
    question = f"This erases the personal data of {who} in {where} for good.\nType {WORD} to go on: "
    try:
        print(question, end="", file=sys.stderr, flush=True)
        typed = sys.stdin.readline()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise KeyboardInterrupt("nothing was erased") from None
    if typed.strip() != WORD:
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
