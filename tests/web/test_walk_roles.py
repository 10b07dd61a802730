"""The walks of viewer, operator, editor and admin: each sees what the role may use, and can do no more."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

import browsing
import pytest
import walking
from playwright import sync_api
from playwright.sync_api import expect

from tidegate import sandbox
from tidegate.store import database

ROLES = ("viewer", "operator", "editor", "admin")
MORE = (
    "pulls: {everything: {from: acme, to: local, streams: {customers: {}}, schedule: manual}}\n"
    "models: {people: {file: people.csv, key: id}}\n"
)
PAGES = (
    "Overview", "Stripe accounts", "Warehouses", "Streams", "Pipelines", "Customers", "Models", "Syncs to Stripe",
    "Runs", "Issues", "Settings",
)  # fmt: skip
BUTTONS = {
    "Stripe accounts": ("Add an account", "editor"),
    "Warehouses": ("Add a warehouse", "editor"),
    "Streams": ("Add a pull", "editor"),
    "Pipelines": ("Add a pipeline", "editor"),
    "Models": ("Add a model", "editor"),
    "Syncs to Stripe": ("Add a sync", "editor"),
    "Runs": ("Run a flow", "operator"),
}
"""A button of a page, and the least role that has it."""
ACTIONS = {
    "/runs": ("operator", {"flow": "pull:everything"}),
    "/syncs/people/plan": ("operator", {}),
    "/syncs/people/run": ("operator", {}),
    "/syncs/people/schedule": ("editor", {"schedule": "every 1h"}),
    "/models/-/add": ("editor", {"_name": "more", "way": "file", "file": "people.csv", "key": "id"}),
    "/pipelines/-/add": ("editor", {"_name": "more", "from": "acme", "to": "local", "stream": "customers"}),
    "/settings/members": ("admin", {"name": "eve@example.com", "role": "admin"}),
    "/settings/tokens": ("admin", {"name": "mine", "scope": "admin"}),
}
"""What is sent by a button that the role does not have, and the least role that may."""
POST = """async ([path, form]) => {
  const token = document.querySelector('meta[name="csrf"]').content;
  const body = new URLSearchParams({ ...form, _csrf: token });
  return (await fetch(path, { method: "POST", body, redirect: "manual" })).status;
}"""
CHANGED = ("runs", "plans", "configuration", "objects", "members", "member_links", "tokens", "trail")
"""Tables of the metadata database that have another row after whatever a person did."""


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


def kept(folder: Path) -> list[int]:
    """How many rows those tables have."""
    with contextlib.closing(database.open_database(f"sqlite:///{folder}/tidegate.db")) as store:
        return [store.tuples(f"SELECT count(*) FROM {name}")[0][0] for name in CHANGED]


def may(role: str, least: str) -> bool:
    return ROLES.index(role) >= ROLES.index(least)


def walk(guest: walking.Walker, role: str) -> None:
    """Every page of the menu, with the buttons of the role and without those of others."""
    for label in PAGES:
        guest.go(label)
        guest.looks(label.lower().replace(" ", "-"))
        if label in BUTTONS:
            button, least = BUTTONS[label]
            found = guest.button(button)
            assert (found.count() > 0) == may(role, least), f"{role}: {button}"
    expect(guest.main.get_by_role("link", name="Members")).to_have_count(1 if may(role, "admin") else 0)
    guest.go("Syncs to Stripe")
    guest.choose("people")
    guest.looks("sync")
    assert (guest.button("Make a plan").count() > 0) == may(role, "operator")
    assert (guest.button("Edit").count() > 0) == may(role, "editor")
    before = kept(guest.server.folder)
    for path, (least, form) in ACTIONS.items():
        if not may(role, least):
            assert guest.page.evaluate(POST, [path, form]) == 403, f"{role}: {path}"
    assert kept(guest.server.folder) == before, f"{role} has changed something"


def test_each_role_has_its_buttons_and_can_do_no_more(
    page: sync_api.Page, browser: sync_api.Browser, tmp_path: Path, stripe: str
) -> None:
    with (tmp_path / "people.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("id", "email", "name"), ("1", "one@walk.test", "One")])
    with walking.running(tmp_path, walking.file(stripe, MORE)) as server:
        ann = walking.entered(page, server, "roles")
        ann.go("Syncs to Stripe")
        ann.press("Add a sync")
        walking.add_sync(ann, "people")
        ann.press("Next")
        ann.press("Add it")
        expect(ann.said).to_contain_text("people is kept")
        for role in ROLES:
            ann.go("Settings")
            ann.choose("Members")
            page.get_by_label("E-mail address").fill(f"{role}@example.com")
            page.get_by_label("Role").last.select_option(role)
            ann.press("Invite")
            ann.shows("works once")
            link = ann.main.get_by_text(f"{server.url}/enter/").inner_text()
            if role == "viewer":
                ann.looks("invited")
            with browsing.tab(browser) as tab:
                walk(walking.signed_in(tab, server, link, f"roles-{role}"), role)
