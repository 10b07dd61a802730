"""The first run: from nothing to the first rows, with a key or generated data, taken up after a restart."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
import signing as signed_in
from signing import Client

from tidegate import sandbox
from tidegate.cli import demos, serving
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import desk as desks
from tidegate.store import runs, trail
from tidegate.views import start as views
from tidegate.web import frame

READING = "rk_test_reading12345678"
WHOLE = "sk_test_whole1234567890"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demos, "OBJECTS", 60)


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=60, keys={READING: ("rak_customer_read",)}) as url:
        yield url


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, desks.Desk]]:
    """What `tidegate run` serves over a folder in which nothing is configured."""
    file = folder / "tidegate.yaml"
    if not file.exists():
        file.write_text("database: sqlite:///tidegate.db\n")
    with seen.place(file) as place, serving.serving(place, limit=signed_in.UNHURRIED) as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[str, desks.Desk]]:
    with served(tmp_path) as found:
        yield found


@pytest.fixture
def ann(desk: tuple[str, desks.Desk]) -> Client:
    return signed_in.session(desk[1], desk[0], "editor", "ann@example.com")


@pytest.fixture
def place(desk: tuple[str, desks.Desk]) -> places.Place:
    return desk[1].place


def step(client: Client) -> str:
    """The step that the page shows."""
    found = re.search(r'aria-current="step">.*?</span>(.*?)</li>', client.get("/start").text, re.DOTALL)
    assert found is not None
    return re.sub(r"<.*?>", "", found[1])


def test_a_key_is_tried_and_one_that_does_not_work_is_not_kept(
    ann: Client, place: places.Place, stripe: str
) -> None:
    assert step(ann) == "Stripe account"
    wrong = ann.post("/start/key", {"api_key": "pk_test_1234567890abcdef", "api_base": stripe})
    assert wrong.status == 422
    assert "pk_test_1234567890abcdef" not in wrong.text
    assert place.file.stripe == {}
    answer = ann.post("/start/key", {"api_key": READING, "api_base": stripe})
    assert answer.headers["location"] == "/start"
    page = ann.get("/start").text
    assert "permissions are missing" in page
    assert READING not in page
    assert step(ann) == "Warehouse"
    assert [each.what for each in trail.listed(place.store)] == ["stripe.stripe"]


def test_a_warehouse_is_kept_where_each_step_of_its_check_went_well(
    ann: Client, place: places.Place, stripe: str
) -> None:
    ann.post("/start/key", {"api_key": WHOLE, "api_base": stripe})
    assert 'value="stripe.duckdb"' in ann.get("/start").text
    form = {"_type": "postgres", "url": "postgresql://nobody:pass@127.0.0.1:1/none"}
    refused = ann.post("/start/warehouse", form)
    assert refused.status == 422
    assert "firewalls in between" in refused.text
    assert place.file.warehouses == {}
    assert "nothing that there is" not in ann.get("/start?step=warehouse&type=nonsense").text
    assert ann.post("/start/warehouse", {"_type": "duckdb", "path": "stripe.duckdb"}).status == 303
    assert step(ann) == "Streams"


def test_an_estimate_says_rows_and_time_and_changes_nothing(
    ann: Client, place: places.Place, stripe: str
) -> None:
    ann.post("/start/key", {"api_key": READING, "api_base": stripe})
    ann.post("/start/warehouse", {"_type": "duckdb", "path": "stripe.duckdb"})
    answer = ann.post("/start/estimate", {"take": ["customers", "payouts"]})
    assert "Rows, about" in answer.text
    assert "The key may not read: payouts." in answer.text
    assert answer.text.startswith("<!doctype html>"), "without JavaScript it is the page once more"
    assert len(re.findall(r'name="take" value="\w+" checked', answer.text)) == 2
    part = ann.post("/start/estimate", {"take": ["customers"]}, HX_Request="true")
    assert "Rows, about" in part.text
    assert "<html" not in part.text
    assert "Choose one stream at least." in ann.post("/start/estimate", {}).text
    assert "Stripe has no stream customer" in ann.post("/start/estimate", {"take": "customer"}).text
    assert place.file.pulls == {}


def test_only_the_streams_that_differ_are_written_down(ann: Client, place: places.Place, stripe: str) -> None:
    ann.post("/start/key", {"api_key": WHOLE, "api_base": stripe})
    ann.post("/start/warehouse", {"_type": "duckdb", "path": "stripe.duckdb"})
    assert ann.post("/start/streams", {}).status == 422
    chosen = [each for each in views.recommended() if each != "payouts"]
    assert ann.post("/start/streams", {"take": chosen}).status == 303
    part = editing.get(place, "pulls", "stripe")
    assert part is not None
    assert part.body == {
        "from": "stripe",
        "to": "local",
        "schedule": "continuous",
        "streams": {"*": {}, "payouts": {"enabled": False}},
    }
    [run] = runs.listed(place.store)
    assert run.flow == "pull:stripe"
    again = ann.post("/start/streams", {"take": chosen})
    assert again.status == 303
    assert list(place.file.pulls) == ["stripe"]


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_may_not_edit_is_sent_to_the_overview(desk: tuple[str, desks.Desk], role: str) -> None:
    url, found = desk
    client = signed_in.session(found, url, role)  # type: ignore[arg-type]
    answer = client.get("/start")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    for path in ("key", "demo", "demo/end", "warehouse", "streams", "estimate", "run"):
        assert client.post(f"/start/{path}", {"words": "demo"}).status == 403
    assert found.place.file.stripe == {}
    assert client.get("/start/live").status == 403


def test_generated_data_is_the_same_after_a_restart(tmp_path: Path) -> None:
    with served(tmp_path) as (url, desk):
        ann = signed_in.session(desk, url, "editor", "ann@example.com")
        assert ann.post("/start/demo", {}).status == 303
        before = desk.place.file.stripe["demo"].api_base
        business = (tmp_path / ".tidegate" / "demo.json").read_text()
        assert frame.modes(desk.place.file) == "DEMO"
        assert step(ann) == "First rows"
        assert (list(desk.place.file.warehouses), list(desk.place.file.pulls)) == (["demo"], ["demo"])
        assert ann.post("/start/demo", {}).status == 303
        assert desk.place.file.stripe["demo"].api_base == before
        assert list(desk.place.file.pulls) == ["demo"]
    with served(tmp_path) as (url, desk):
        ann = signed_in.session(desk, url, "editor", "ann@example.com")
        assert step(ann) == "First rows"
        assert desk.place.file.stripe["demo"].api_base != before
        assert (tmp_path / ".tidegate" / "demo.json").read_text() == business
        assert ann.post("/accounts/demo/test", {}).status == 303
        assert ann.post("/start/demo/end", {"words": "no"}).status == 422
        assert ann.post("/start/demo/end", {"words": "demo"}).status == 303
        assert (desk.place.file.stripe, desk.place.file.pulls, desk.place.file.warehouses) == ({}, {}, {})
        assert step(ann) == "Stripe account"


def test_a_warehouse_of_generated_data_that_something_else_uses_stays(
    ann: Client, place: places.Place
) -> None:
    assert ann.post("/start/demo", {}).status == 303
    editing.change(
        place, "ann", "models", "rich", {"warehouse": "demo", "table": "customers", "key": "id"}, None
    )
    place.look()
    assert ann.post("/start/demo/end", {"words": "demo"}).status == 303
    assert (list(place.file.stripe), list(place.file.warehouses)) == ([], ["demo"])
    assert ann.post("/start/demo", {}).status == 303
    assert (list(place.file.warehouses), place.file.pulls["demo"].warehouse) == (["demo"], "demo")


def test_a_connection_of_that_name_to_elsewhere_is_left_alone(ann: Client, place: places.Place) -> None:
    editing.change(place, "ann", "stripe", "demo", {"api_key": WHOLE}, None)
    place.look()
    assert ann.post("/start/demo", {}).status == 409
    assert ann.post("/start/demo/end", {"words": "demo"}).status == 404
    assert place.file.stripe["demo"].api_base == "https://api.stripe.com"
    assert frame.modes(place.file) == "TEST"
