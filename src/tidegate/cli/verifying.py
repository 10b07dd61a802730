"""`tidegate push --verify`: what drifted, on the screen, as JSON and in a file."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tidegate import errors
from tidegate.cli import connect, noting, output, pushing, signals
from tidegate.engine import drifts, preparing
from tidegate.push import drift
from tidegate.store import runs

SHOWN = 20
"""Lines of what drifted that are shown."""
DRIFTED = 3
"""The exit code where something drifted."""
WORDS = {"changed": "", "deleted": "deleted at Stripe", "unlinked": "its object is gone"}


def verify(push: str, config_file: Path | None, *, out: Path | None, as_json: bool) -> int:
    """Compare what was acknowledged with what Stripe has; writes nothing."""
    if out is not None and out.suffix not in (".csv", ".jsonl"):
        raise errors.ConfigError(
            f"{out} is no place for what drifted; give a file that ends in .csv or .jsonl"
        )
    file = connect.configuration(config_file)
    preparing.job(file, push)
    shown: list[drift.Drift] = []

    def seen(_: drift.Counts, rows: drifts.Rows) -> None:
        if out is not None:
            _save(out, rows())
        shown.extend(itertools.islice(rows(), SHOWN))

    with noting.placed(file, config_file) as place:
        job = preparing.job(file, push, place.purse)
        going = drifts.run(job, place.store, place.folder, runs.new_id(), shown=output.say, seen=seen)
        try:
            result = asyncio.run(signals.until_stopped(going))
        except errors.StoreConflict as error:
            output.say(str(error))
            return pushing.BUSY
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise KeyboardInterrupt("nothing was written") from None
    if as_json:
        output.print_json({**result.document(), "first": [each.document() for each in shown]})
    else:
        _show(result, shown)
    return DRIFTED if result.counts.drifted else 0


def _show(result: drifts.Result, shown: list[drift.Drift]) -> None:
    counts = result.counts
    if shown:
        table = output.table("row", "object", "field", "acknowledged", "now", title="Drifted")
        for each in shown:
            now = pushing.cut(each.now) if each.kind == "changed" else WORDS[each.kind]
            before = pushing.cut(each.before) if each.kind == "changed" else ""
            table.add_row(each.key, each.target, each.field, before, now)
        output.console().print(table)
        more = counts.fields + counts.deleted + counts.unlinked - len(shown)
        if more > 0:
            output.console().print(f"... and {more:,} more; --out FILE writes them down")
    at = f"{dt.datetime.fromtimestamp(result.at, dt.UTC):%H:%M:%S}"
    output.say(
        f"{result.push}, as of {at} UTC: of {counts.rows:,} rows that were written {counts.equal:,} are so "
        f"still, {counts.changed:,} changed at Stripe, {counts.deleted:,} deleted there, {counts.unlinked:,} "
        "without an object since before."
    )
    if counts.drifted:
        output.say(f"`tidegate push {result.push} --repair` plans to bring back what was changed.")


def _save(path: Path, rows: Iterator[drift.Drift]) -> None:
    """Write down all that drifted, whole or not at all; only its owner may read it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "w", encoding="utf-8", newline="") as file:
            _write(file, rows, as_csv=path.suffix == ".csv")
        draft.replace(path)
    except OSError as error:
        raise errors.ConfigError(f"{path} cannot be written: {error.strerror}; give another --out") from None


def _write(file: TextIO, rows: Iterator[drift.Drift], *, as_csv: bool) -> None:
    if not as_csv:
        file.writelines(json.dumps(each.document(), ensure_ascii=False) + "\n" for each in rows)
        return
    writer = csv.DictWriter(file, drift.DRIFTED.names)
    writer.writeheader()
    writer.writerows(each.document() for each in rows)
