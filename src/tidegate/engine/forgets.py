"""Forgotten customers beside the pulled tables: in the ledger of pushes and its copies, and in customer models."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from tidegate import config
from tidegate.customers import forgetting as modelled
from tidegate.engine import leased, piping, rehearsals
from tidegate.push import workbook
from tidegate.store import database, failed, forgetting
from tidegate.warehouse import base, duckdb


def mirrors(folder: Path) -> list[Path]:
    """The copies of Stripe's objects that pushes keep on this machine; each is a warehouse of its own."""
    return sorted((folder / "mirrors").glob("*.duckdb"))


def forget(
    store: database.Database,
    folder: Path,
    customers: Sequence[str],
    *,
    account: str = "",
    dry_run: bool = False,
) -> forgetting.Forgotten:
    """Forget customers in the ledger of pushes; done before the mirrors are cleaned, which tell what is theirs.

    Workbooks that killed runs left go, and so do rehearsals.
    """
    others = {id for path in mirrors(folder) for id in _theirs(path, customers)}
    found = forgetting.forget(store, customers, others - set(customers), account=account, dry_run=dry_run)
    if not dry_run:
        workbook.clear(folder)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder / rehearsals.FOLDER)
    return found


def models(
    file: config.Config,
    store: database.Database,
    customers: Sequence[str],
    *,
    account: str = "",
    dry_run: bool = False,
) -> dict[str, int]:
    """Forget customers in the customer models and in what pipelines hold in quarantine; rows by what they stand in.

    Raises StoreConflict while a pipeline writes a model.
    """
    done: dict[str, int] = {}
    for lease, of in piping.models(file).items():
        busy = (
            f"A pipeline is just writing the customer model {of.schema_name}.{of.table}, so that nobody was "
            "forgotten there; give the command again when it is done."
        )
        with leased.held(store, lease, busy), piping.modelled(file, of) as model:
            count = modelled.forget(model, customers, account=account, dry_run=dry_run)
        if count:
            done[f"{of.schema_name}.{of.table}"] = count
    if count := failed.forget(store, customers, account=account, dry_run=dry_run):
        done["rows in quarantine"] = count
    return done


def _theirs(path: Path, customers: Sequence[str]) -> Iterator[str]:
    """The objects of a copy that say whose they are, and are theirs."""
    opened = duckdb.DuckDB(path)
    try:
        tables = [
            str(name)
            for batch in opened.read(
                "SELECT table_name FROM information_schema.columns WHERE table_schema = ? AND column_name = ?",
                [opened.schema, "customer"],
            )
            for name in batch.column(0).to_pylist()
        ]
        for table in tables:
            marks = ", ".join("?" * len(customers))
            name = f"{base.quoted(opened.schema)}.{base.quoted(table)}"
            for batch in opened.read(f"SELECT id FROM {name} WHERE customer IN ({marks})", list(customers)):
                yield from batch.column(0).to_pylist()
    finally:
        opened.close()
