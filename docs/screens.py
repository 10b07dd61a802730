"""Pictures of every page, light and dark, in `docs/screens/`, of a demo that is pulled, shaped and pushed back.

Usage:
    python docs/screens.py [NAME ...]    all pages, or those whose names begin so

It needs Chromium and what `./dev setup` installs, and takes about two minutes.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright import sync_api

from tidegate import config, errors, views
from tidegate.cli import demos, serving
from tidegate.engine import editing, live, pool
from tidegate.engine import place as places
from tidegate.server import asking, limits
from tidegate.store import database, jobs, people, runs, sessions, tokens
from tidegate.views import audits, customers, flows, forgets, push_plans, start

FOLDER = Path(__file__).parent / "screens"
CHROMIUM = "/usr/bin/chromium"
WIDE, NARROW = 1280, 390
TALLEST = 1_100
"""Pixels of a picture; what is below is cut off."""
PATIENCE = 120.0
"""Seconds that a run, or a plan, may take."""
LATIN = 0x250
"""The first character behind the letters of European languages."""

CUSTOMERS = {
    "from": "demo",
    "to": "local",
    "description": "customers with an e-mail address",
    "filter": {"field": "email", "op": "is not empty"},
    "map": {
        "customer_id": "id",
        "email": {"sql": "lower(trim(email))"},
        "name": {"sql": "trim(name)"},
        "phone": "phone",
        "address": "address",
        "currency": "currency",
        "created": "created",
    },
    "schedule": {"after": "demo"},
}
SCORES = """
select * from (select id, email, upper(name) as name, 'pro' as plan from stripe.customers
  where email is not null order by id limit 40)
union all select 'new', 'robin@fields.test', 'Robin Fields', 'basic'
"""
NEW = """
select 'crm_1' as id, 'sam@rivers.test' as email, 'Sam Rivers' as name
union all select 'crm_2', 'sam@rivers.test', 'Samuel Rivers'
union all select 'crm_3', 'kim@lakes.test', 'Kim Lakes'
union all select 'crm_4', 'lee@hills.test', 'Lee Hills'
"""
PARTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("warehouses", "local", {"type": "duckdb", "path": "local.duckdb"}),
    ("pulls", "demo", {"from": "demo", "to": "local", "schedule": "every 1h"}),
    ("customer_model", "", {"warehouse": "local"}),
    ("pipelines", "customers", CUSTOMERS),
    ("models", "scores", {"warehouse": "local", "sql": SCORES.strip(), "key": "id"}),
    ("models", "new_customers", {"warehouse": "local", "sql": NEW.strip(), "key": "id"}),
    (
        "pushes",
        "plans_to_stripe",
        {
            "model": "scores",
            "to": "demo",
            "object": "customer",
            "match": {"email": "email"},
            "fields": {"name": "name", "metadata.plan": "plan"},
            "guard": {"max_creates": 0},
            "schedule": "every 6h",
        },
    ),
    (
        "pushes",
        "customers_to_stripe",
        {
            "model": "new_customers",
            "to": "demo",
            "object": "customer",
            "match": {"email": "email"},
            "fields": {"name": "name"},
            "schedule": "every 1h",
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Furnished:
    """A server over a demo in which everything has happened once."""

    url: str
    place: places.Place
    secret: str
    """Of the session of an admin."""


@contextlib.contextmanager
def furnished(folder: Path, objects: int = 20_000) -> Iterator[Furnished]:
    """Serve a demo: pulled, shaped into customers, and pushed back, with rows that wait for a person."""
    file = folder / "tidegate.yaml"
    file.write_text("database: sqlite:///tidegate.db\n", encoding="utf-8")
    with (
        contextlib.closing(database.open_database(f"sqlite:///{folder}/tidegate.db")) as store,
        contextlib.closing(demos.Demo(folder / ".tidegate", objects)) as demo,
    ):
        place = places.Place(live.Live(file, store), store, folder=places.state(file))
        ann = views.Person("ann@example.com", "session")
        start.begin_demo(place, ann, demo.start)
        for kind, name, body in PARTS:
            editing.change(place, ann.name, kind, name, body, None, via=ann.via, admin=True)
        app = {"client_id": "ca_rockets", "client_secret": "sk_test_platform1234567"}
        editing.change(place, ann.name, "stripe", "shop", {"oauth": app}, None, via=ann.via, admin=True)
        place.look()
        secret = _people(place)
        with serving.serving(place, limit=_UNHURRIED) as (url, _), _working(place):
            for flow in (
                "pull:demo",
                "pipeline:customers",
                "push:plans_to_stripe",
                "push:customers_to_stripe",
            ):
                _run(place, ann, flow)
            _plan(place, ann, "plans_to_stripe")
            _compare(place, ann)
            yield Furnished(url, place, secret)


_UNHURRIED = limits.Limits(limits.Rate(1e9, 1e9), limits.Rate(1e9, 1e9))


def pages(found: Furnished) -> dict[str, str]:
    """The pages by name, with their addresses."""
    last = {each.flow: each.id for each in reversed(runs.listed(found.place.store, limit=100))}
    profile = _customer(found.place)
    return {
        "overview": "/",
        "start": "/start?step=key",
        "start-warehouse": "/start?step=warehouse",
        "accounts": "/accounts",
        "account": "/accounts/demo",
        "account-webhooks": "/accounts/demo/webhooks",
        "account-consent": "/accounts/shop/consent",
        "account-add": "/accounts/-/add",
        "account-connect": "/accounts/-/connect",
        "warehouses": "/warehouses",
        "warehouse": "/warehouses/local",
        "warehouse-kinds": "/warehouses/-/add",
        "warehouse-add": "/warehouses/-/add?type=postgres",
        "streams": "/streams",
        "stream": "/streams/demo/charges",
        "stream-edit": "/streams/demo/charges/edit",
        "streams-choose": "/streams/demo/-/choose",
        "pipelines": "/pipelines",
        "pipeline": "/pipelines/customers",
        "pipeline-edit": "/pipelines/customers/edit",
        "customers": "/customers",
        "customer": f"/customers/{profile}",
        "models": "/models",
        "model": "/models/scores",
        "syncs": "/syncs",
        "sync": "/syncs/customers_to_stripe",
        "sync-held": "/syncs/plans_to_stripe",
        "sync-plan": "/syncs/plans_to_stripe/plan",
        "runs": "/runs",
        "run": f"/runs/{last['pull:demo']}",
        "run-push": f"/runs/{last['push:customers_to_stripe']}",
        "run-log": f"/runs/{last['pull:demo']}/log",
        "issues": "/issues",
        "audits": "/audits",
        "audit": f"/audits/{_job(found.place, 'audit')}",
        "settings": "/settings",
        "configuration": "/settings/configuration",
        "forgets": "/settings/forget",
        "forget": f"/settings/forget/{_job(found.place, 'forget')}",
        "alerts": "/settings/alerts",
        "limits": "/settings/limits",
        "retention": "/settings/retention",
        "members": "/settings/members",
        "tokens": "/settings/tokens",
        "secrets": "/settings/secrets",
        "audit-log": "/settings/changes",
        "about": "/settings/about",
        "account-own": "/account",
        "api": "/api",
    }


def _job(place: places.Place, kind: jobs.Kind) -> str:
    """The newest job of a kind."""
    return jobs.listed(place.store, kind=kind, limit=1)[0].id


REDUCE = """async (encoded) => {
  const bytes = Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const pen = new OffscreenCanvas(image.width, image.height).getContext("2d");
  pen.drawImage(image, 0, 0);
  const pixels = new Uint32Array(pen.getImageData(0, 0, image.width, image.height).data.buffer);
  const counts = new Map();
  for (const each of pixels) counts.set(each, (counts.get(each) ?? 0) + 1);
  const palette = [...counts].sort((one, other) => other[1] - one[1]).slice(0, 128).map(([colour]) => colour);
  const parts = (colour) => [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
  const known = palette.map(parts);
  const nearest = (colour) => {
    const [r, g, b] = parts(colour);
    let best = 0, least = Infinity;
    known.forEach(([x, y, z], at) => {
      const far = (x - r) ** 2 + (y - g) ** 2 + (z - b) ** 2;
      if (far < least) [best, least] = [at, far];
    });
    return best;
  };
  const places = new Map([...counts.keys()].map((colour) => [colour, nearest(colour)]));
  let text = "";
  for (let at = 0; at < pixels.length; at += 8192)
    text += String.fromCharCode(...pixels.subarray(at, at + 8192).values().map((each) => places.get(each)));
  return { width: image.width, height: image.height, palette: known, pixels: btoa(text) };
}"""
"""A picture with its 128 most frequent colours, every other as the nearest of them: a fifth of the bytes."""

PHONES = ("overview", "start", "streams", "run", "sync", "issues")
"""Pages that are pictured as telephones show them, too."""


def _plan(place: places.Place, who: views.Who, push: str) -> None:
    """Have a plan made, which waits for approval."""
    push_plans.make(place, who, push)
    end = time.monotonic() + PATIENCE
    while (found := push_plans.planned(place, push)) is None or found.plan.state == "making":
        if time.monotonic() > end:
            raise TimeoutError(f"the plan of {push} was not made within {PATIENCE:g} s")
        time.sleep(0.2)


def _people(place: places.Place) -> str:
    """Members, a token, and a session of the first one; its secret."""
    store = place.store
    ann = "ann@example.com"
    secret = sessions.new()
    for name, role in ((ann, "admin"), ("ben@example.com", "viewer")):
        store.execute(
            "INSERT INTO members (id, name, role, made_at, made_by) VALUES (:id, :name, :role, {now}, :by)",
            {"id": f"member_{secrets.token_hex(6)}", "name": name, "role": role, "by": ann},
        )
    member = people.get(store, ann)
    store.transact(
        lambda each: sessions.begin(each, member.id, secret, address="127.0.0.1", agent="Chrome/156 Linux")
    )
    tokens.create(store, "warehouse-ci", "read")
    return secret


@contextlib.contextmanager
def _working(place: places.Place) -> Iterator[None]:
    thread = threading.Thread(target=pool.serve, args=[place], daemon=True)
    thread.start()
    try:
        yield
    finally:
        place.stopping.set()
        thread.join()


def _run(place: places.Place, who: views.Who, flow: str) -> None:
    """Have a flow run, or the one that runs after another by itself, and wait for its end."""
    if not isinstance(place.flows[flow].schedule, config.After):
        with contextlib.suppress(errors.StoreConflict):
            flows.begin(place, who, flow)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = runs.listed(place.store, flow=flow, limit=1)
        if found and not found[0].alive:
            return
        time.sleep(0.2)
    raise TimeoutError(f"{flow} has not ended within {PATIENCE:g} s")


def _compare(place: places.Place, who: views.Person) -> None:
    """Audit a part of the pull, and look what forgetting a customer would erase; wait for both."""
    of = customers.model(place)
    customer = customers.get(place, of, _customer(place)).records[0].source_id
    begun = [
        audits.begin(place, who, "demo", streams=["customers", "charges", "balance_transactions"]),
        forgets.begin(place, who, [customer]),
    ]
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not any(found.alive for each in begun if (found := jobs.get(place.store, each.id))):
            return
        time.sleep(0.2)
    raise TimeoutError(f"an audit has not ended within {PATIENCE:g} s")


def _customer(place: places.Place) -> str:
    """The id of a customer with an address, in letters that the fonts of this machine have."""
    of = customers.model(place)
    found = customers.search(place, of, limit=50).customers
    for each in found:
        properties = customers.get(place, of, each.profile).properties
        if properties.get("address") and max(map(ord, str(properties))) < LATIN:
            return each.profile
    return found[0].profile


def shoot(found: Furnished, wanted: tuple[str, ...], folder: Path = FOLDER) -> None:
    """Write the pictures."""
    folder.mkdir(exist_ok=True)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for width in (WIDE, NARROW):
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": 860},
                    color_scheme=scheme,  # type: ignore[arg-type]
                    reduced_motion="reduce",
                    timezone_id="Europe/Berlin",
                )
                cookie = {"name": asking.cookie(False), "value": found.secret, "url": found.url}
                context.add_cookies([cookie])  # type: ignore[list-item]
                page = context.new_page()
                for name, path in pages(found).items():
                    if (wanted and not name.startswith(wanted)) or (width == NARROW and name not in PHONES):
                        continue
                    _shoot(page, found.url + path, folder / f"{name}-{width}-{scheme}.png", width)
                context.close()
        browser.close()


def _shoot(page: sync_api.Page, url: str, file: Path, width: int) -> None:
    answer = page.goto(url)
    assert answer is not None
    if answer.status != 200:
        print(f"{url}: {answer.status}", file=sys.stderr)
    page.wait_for_load_state("load")
    waiting = ":not(:defined), tg-chart:not([data-drawn])"
    page.wait_for_function(
        f"() => !document.querySelector('{waiting}') && document.fonts.status === 'loaded'"
    )
    page.wait_for_timeout(150)
    height = min(TALLEST, page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": width, "height": max(600, height)})
    file.write_bytes(_reduced(page, page.screenshot()))
    page.set_viewport_size({"width": width, "height": 860})


def _reduced(page: sync_api.Page, picture: bytes) -> bytes:
    """The same picture as a PNG with a palette."""
    blank = page.context.new_page()
    found = blank.evaluate(REDUCE, base64.b64encode(picture).decode())
    blank.close()
    width, height = found["width"], found["height"]
    pixels = base64.b64decode(found["pixels"])
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, width * height, width))
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    palette = bytes(part for colour in found["palette"] for part in colour)
    chunks = ((b"IHDR", head), (b"PLTE", palette), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def main() -> None:
    """Make them."""
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder, furnished(Path(folder)) as found:
        shoot(found, tuple(sys.argv[1:]))


if __name__ == "__main__":
    main()
