"""What following a business costs: `./dev bench follow [requests] [accounts] [--accounts N]`.

Requests are those of later pulls of what one pull has read whole: nothing changed, 120 changed customers with
payloads at our version and at an older one, in a small and in a large account. Then many connected accounts: a full
pull and an idle one, with the peak memory of the process.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pull
import report

from tidegate import sandbox

CHANGED = 120
SMALL, LARGE = 2_000, 60_000
ACCOUNTS = 5_000
STREAMS = ("customers", "charges", "invoices", "invoice_line_items", "subscriptions")


def control(url: str, name: str, body: object) -> Any:
    """Call the sandbox's control API."""
    request = urllib.request.Request(f"{url}/_sandbox/{name}", data=json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def change(url: str, ids: Sequence[str], name: str) -> None:
    """Give customers another name, as the merchant does, and let the events become readable."""
    for row_id in ids:
        data = urllib.parse.urlencode({"name": f"{name} {row_id}"}).encode()
        headers = {"Authorization": f"Bearer {pull.KEY}"}
        request = urllib.request.Request(f"{url}/v1/customers/{row_id}", data=data, headers=headers)
        urllib.request.urlopen(request).read()
    control(url, "clock", {"advance": 20})


def customers(url: str, count: int) -> list[str]:
    """Some customers, from all over the list."""
    with urllib.request.urlopen(f"{url}/_sandbox/truth/customers") as answer:
        ids = [json.loads(line)["object"]["id"] for line in answer]
    return ids[:: max(1, len(ids) // count)][:count]


def _line(what: str, found: pull.Pulled, most: int, note: str = "") -> report.Line:
    return report.Line(what, f"{found.requests:,}", f"<= {most}", found.requests <= most, note)


def requests(folder: Path, _: int) -> list[report.Line]:
    """Requests of cycles in which nothing, or a little, changed."""
    lines = []
    for objects in (SMALL, LARGE):
        file = folder / f"{objects}.duckdb"
        with sandbox.process(objects=objects, keys={pull.KEY: None}) as url:
            first = pull.pulled(url, file, limit="off")
            control(url, "clock", {"advance": 20})
            idle = pull.pulled(url, file, limit="off")
            ids = customers(url, CHANGED)
            change(url, ids, "First")
            told = pull.pulled(url, file, limit="off")
            control(url, "version", {"version": "2020-08-27"})
            change(url, ids, "Second")
            read = pull.pulled(url, file, limit="off")
            again = pull.pulled(url, file, limit="off")
        size = f"{first.total:,} rows"
        lines += [
            _line(f"{size}, {len(first.rows)} streams: nothing changed", idle, 2),
            _line(f"{size}: {len(ids)} changed customers, payloads at our version", told, 6),
            _line(f"{size}: {len(ids)} changed customers, each to be read again", read, 130),
            _line(f"{size}: nothing changed since, the events still in the overlap", again, 4),
        ]
    return lines


def accounts(folder: Path, count: int) -> list[report.Line]:
    """Very many connected accounts with little in each."""
    file = folder / "accounts.duckdb"
    config = folder / "tidegate.yaml"
    lines = []
    with sandbox.process(objects=300, accounts=count, account_objects=20, keys={pull.KEY: None}) as url:
        config.write_text(
            f"stripe: {{all: {{api_key: {pull.KEY}, api_base: '{url}', accounts: all, rate_limit: off}}}}\n"
            f"warehouses: {{local: {{type: duckdb, path: {file}}}}}\n"
            f"pulls: {{all: {{from: all, to: local, streams: {{{', '.join(f'{s}: {{}}' for s in STREAMS)}}}}}}}\n"
        )
        for what in ("a full pull", "an idle one"):
            found = pull.measured([pull.TIDEGATE, "pull", "-c", str(config), "--json"])
            control(url, "clock", {"advance": 20})
            megabytes = found.rss / 1e6
            note = f"{found.requests:,} requests, {found.seconds:.0f} s, {found.cpu:.0f} CPU-s"
            what = f"{count:,} connected accounts, {what}: peak memory"
            lines.append(report.Line(what, f"{megabytes:,.0f} MB", "<= 500", megabytes <= 500, note))
    return lines


SECTIONS = {"requests": ("Requests of a tail cycle", requests), "accounts": ("Connected accounts", accounts)}


if __name__ == "__main__":
    report.measure(
        __doc__, SECTIONS, sys.argv[1:], option="--accounts", size=ACCOUNTS, what="connected accounts"
    )
