"""The walk of somebody who sends rows to Stripe: a model, a sync, its plan, and what waits for a person."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import walking
from following import Merchant
from playwright import sync_api
from playwright.sync_api import expect

from tidegate import sandbox

MANY = 60
PUSH = (
    "models: {people: {file: people.csv, key: id}}\n"
    "pushes: {people: {model: people, to: acme, object: customer, match: {email: email}, fields: {name: name}}}\n"
)


@pytest.fixture
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


def people(folder: Path, *rows: tuple[str, str, str]) -> None:
    """The file of the model: an id, an e-mail and a name each."""
    with (folder / "people.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("id", "email", "name"), *rows])


def names(shop: Merchant, email: str) -> list[str]:
    """The names that customers of an e-mail have at Stripe."""
    found = [each["object"] for each in shop.truth("customers")]
    return sorted(each["name"] for each in found if each.get("email") == email)


def test_rows_are_planned_approved_written_and_decided_on(
    page: sync_api.Page, tmp_path: Path, shop: Merchant
) -> None:
    shop.make("/v1/customers", email="old@walk.test", name="Before")
    for name in ("One", "Other"):
        shop.make("/v1/customers", email="two@walk.test", name=name)
    good = [("1", "old@walk.test", "After"), ("2", "new@walk.test", "New"), ("3", "two@walk.test", "Chosen")]
    people(tmp_path, *good, ("4", "nobody", "Refused"))
    with walking.running(tmp_path, walking.file(shop.url)) as server:
        ann = walking.entered(page, server, "push")
        ann.go("Models")
        ann.press("Add a model")
        page.get_by_label("Name", exact=True).fill("people")
        page.get_by_label("Kind").select_option("File")
        page.get_by_role("textbox", name="File optional").fill("people.csv")
        page.get_by_label("Key", exact=True).fill("id")
        ann.press("Show rows")
        ann.shows("old@walk.test")
        ann.looks("model")
        ann.press("Add it")
        expect(ann.heading("people")).to_be_visible()

        ann.go("Syncs to Stripe")
        ann.looks("none-yet")
        ann.press("Add a sync")
        walking.add_sync(ann, "people")
        ann.looks("wizard")
        ann.press("Remove name")
        ann.press("Next")
        expect(page.get_by_role("alert")).to_contain_text("Choose one field of Stripe at least")
        ann.looks("wrong")
        walking.add_field(ann)
        ann.press("Next")
        ann.press("Change something")
        expect(page.get_by_label("Name", exact=True)).to_have_value("people")
        ann.looks("changed")
        ann.press("Next")
        ann.shows("Each row of people is a customer of acme")
        ann.looks("recap")
        ann.press("Add it")
        ann.press("Make a plan")
        ann.shows("What would be written", walking.LONG)
        changed = page.get_by_role("row").filter(has_text="Update")
        expect(changed.get_by_role("deletion")).to_have_text("Before")
        expect(changed.get_by_role("insertion")).to_have_text("After")
        ann.looks("plan")
        assert names(shop, "old@walk.test") == ["Before"], "a plan writes nothing"
        ann.confirm("Approve")
        expect(ann.heading("push:people")).to_be_visible()
        ann.ends()
        ann.looks("ran")
        assert (names(shop, "old@walk.test"), names(shop, "new@walk.test")) == (["After"], ["New"])
        assert names(shop, "two@walk.test") == ["One", "Other"]

        ann.go("Issues")
        ann.shows("Ambiguous match")
        ann.looks("issues")
        ann.choose("3")
        expect(ann.main).to_contain_text("Other")
        ann.looks("ambiguous")
        candidates = page.get_by_role("region", name="Candidates side by side")
        ann.press("It is this one", within=candidates)
        expect(ann.said).to_contain_text("3 of people: the next run does what you chose.")

        ann.looks("chosen")
        people(tmp_path, *good, ("4", "mended@walk.test", "Mended"))
        ann.go("Issues")
        ann.choose("4")
        ann.looks("refused")
        ann.press("Retry")
        expect(ann.said).to_contain_text("4 of people")
        ann.go("Syncs to Stripe")
        ann.choose("people")
        ann.looks("sync")
        ann.confirm("Run now")
        ann.ends()
        assert (len(names(shop, "two@walk.test")), "Chosen" in names(shop, "two@walk.test")) == (2, True)
        assert names(shop, "mended@walk.test") == ["Mended"]
        ann.go("Issues")
        ann.shows("Nothing needs you.")


def test_a_run_is_cancelled_while_it_goes_and_is_exact_when_it_runs_again(
    page: sync_api.Page, tmp_path: Path, shop: Merchant
) -> None:
    people(tmp_path, *((f"{n}", f"p{n}@walk.test", f"Person {n}") for n in range(MANY)))
    with walking.running(tmp_path, walking.file(shop.url, PUSH, "20/4")) as server:
        ann = walking.entered(page, server, "cancel")
        ann.go("Syncs to Stripe")
        ann.choose("people")
        ann.confirm("Run now")
        ann.shows(f"{MANY} to create", walking.LONG)
        ann.looks("goes")
        ann.confirm("Cancel")
        ann.ends("Cancelled")
        ann.looks("cancelled")
        written = [name for n in range(MANY) for name in names(shop, f"p{n}@walk.test")]
        assert len(written) < MANY
        (tmp_path / "tidegate.yaml").write_text(walking.file(shop.url, PUSH))
        ann.press("Run again")
        expect(ann.said).to_contain_text("queued once more")
        ann.ends()
        ann.looks("again")
        found = [names(shop, f"p{n}@walk.test") for n in range(MANY)]
        assert found == [[f"Person {n}"] for n in range(MANY)]
