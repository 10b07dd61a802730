"""The pages of what there is to see, without a browser: overview, accounts, warehouses, streams and alerts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import loads
import pyarrow as pa
import pytest
import seen
from signing import Client, Signed

from tidegate import sandbox, warehouse
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import notices, runs, trail
from tidegate.warehouse import base

READING = "rk_test_reading12345678"
SECRET = "sk_test_geheim123456789"


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=60, accounts=3, keys={READING: ("rak_customer_read",)}) as url:
        yield url


@pytest.fixture
def place(stripe: str, tmp_path: Path) -> Iterator[places.Place]:
    """A place where everything stands in the file."""
    file = seen.written(tmp_path, url=stripe, key=SECRET)
    file.write_text(file.read_text().replace("api_base", 'rate_limit: "off", api_base'))
    with seen.place(file) as found:
        seen.ticking(found)
        yield found


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[places.Place]:
    """A place where nothing is configured yet."""
    file = tmp_path / "tidegate.yaml"
    file.write_text("database: sqlite:///tidegate.db\n")
    with seen.place(file) as found:
        yield found


def said(client: Client, path: str) -> str:
    """The flash line of the next page."""
    found = re.search(r'id="said".*?<p>(.*?)</p>', client.get(path).text, re.DOTALL)
    return found[1] if found else ""


PAGES = (
    "/", "/accounts", "/accounts/acme", "/accounts/acme/connected", "/accounts/acme/webhooks", "/warehouses",
    "/warehouses/local", "/streams", "/streams/everything", "/streams/everything/charges",
    "/streams/everything/charges/columns", "/settings/alerts",
)  # fmt: skip
FORMS = (
    "/accounts/-/add", "/accounts/acme/edit", "/warehouses/-/add", "/warehouses/-/add?type=postgres",
    "/warehouses/local/edit", "/streams/-/add", "/streams/everything/-/choose", "/streams/everything/-/settings",
    "/streams/everything/charges/edit", "/settings/alerts/edit",
)  # fmt: skip


def test_every_page_is_there_for_a_viewer_and_none_has_a_secret(place: places.Place, signed: Signed) -> None:
    seen.stands(place, "pull:everything", seen.table("charges"), seen.table("payouts", status="failed"))
    viewer = signed(place, "viewer")
    for path in PAGES:
        answer = viewer.get(path)
        assert answer.status == 200, path
        assert SECRET not in answer.text, path
        assert 'style="' not in answer.text, path
        assert "<script>" not in answer.text, path
    for path in FORMS:
        assert viewer.get(path).status == 403, path


def test_every_form_is_there_for_an_editor(place: places.Place, signed: Signed) -> None:
    editor = signed(place, "editor")
    for path in FORMS:
        answer = editor.get(path)
        assert answer.status == 200, path
        assert SECRET not in answer.text, path


def test_tables_are_files_too(place: places.Place, signed: Signed) -> None:
    seen.stands(place, "pull:everything", seen.table("charges", rows=7))
    viewer = signed(place, "viewer")
    for path in (
        "/accounts",
        "/accounts/acme/connected",
        "/warehouses",
        "/streams",
        "/streams/everything/charges",
    ):
        answer = viewer.get(f"{path}?format=csv")
        assert answer.headers["content-type"].startswith("text/csv"), path
        assert len(answer.text.splitlines()) >= 2, path
    lines = viewer.get("/streams?format=csv&search=charges").text.splitlines()
    assert lines[0].startswith("pull,stream,table,taken,state")
    assert lines[1].startswith("everything,charges,charges,true,fresh")


def test_the_overview_says_how_everything_is(place: places.Place, signed: Signed) -> None:
    seen.stands(place, "pull:everything", seen.table("charges"), seen.table("payouts", 20 * 86_400))
    seen.ran(place, "pull:everything")
    text = signed(place, "viewer").get("/").text
    assert "pull:everything is behind; nothing needs you." in text
    assert text.index("/streams/everything/payouts") < text.index("/streams/everything/charges")
    assert 'src="/api/v1/overview/hours"' in text
    assert "Look again" not in text


def test_an_operator_has_the_warehouses_looked_into(place: places.Place, signed: Signed) -> None:
    operator = signed(place, "operator")
    assert "Look again" in operator.get("/").text
    assert operator.post("/overview/refresh").status == 303
    assert said(operator, "/") == "Looked into the warehouse."


def test_a_place_that_is_just_begun_shows_the_way(empty: places.Place, signed: Signed) -> None:
    editor = signed(empty, "editor")
    text = editor.get("/").text
    assert "Nothing is connected yet" in text
    assert [text.index(path) for path in ("/accounts/-/add", "/warehouses/-/add", "/streams/-/add")]
    assert "No Stripe account yet." in editor.get("/streams/-/add").text
    assert "No Stripe account yet." in editor.get("/accounts").text
    assert "No warehouse yet." in editor.get("/warehouses").text


def test_from_nothing_to_a_pull(empty: places.Place, signed: Signed, stripe: str) -> None:
    editor = signed(empty, "editor")
    account = {
        "_name": "shop",
        "api_key": SECRET,
        "api_base": stripe,
        "rate_limit": "off",
        "accounts": "own",
        "budget": "0.8",
    }
    assert editor.post("/accounts/-/add", account).headers["location"] == "/accounts/shop"
    page = editor.get("/accounts/shop").text
    assert "The key works, and shop is kept." in page
    assert SECRET not in page
    assert "Secret: it may do everything" in page
    warehouse = {"_name": "local", "_type": "duckdb", "path": "w.duckdb", "schema": "stripe"}
    assert editor.post("/warehouses/-/add", warehouse).headers["location"] == "/warehouses/local"
    assert said(editor, "/warehouses/local") == "local is kept, and works."
    pull = {"_name": "all", "from": "shop", "to": "local", "schedule": "every 15m", "streams": "some"}
    assert editor.post("/streams/-/add", pull).headers["location"] == "/streams/all/-/choose"
    chosen = {"_version": version(editor, "/streams/all/-/choose"), "take": ["charges", "customers"]}
    assert editor.post("/streams/all/-/choose", chosen).headers["location"] == "/streams/all"
    assert said(editor, "/streams/all") == "all takes 2 streams now."
    assert set(empty.file.pulls["all"].streams) == {"charges", "customers"}
    assert [line.what for line in trail.listed(empty.store)] == [
        "pulls.all", "pulls.all", "warehouses.local", "stripe.shop",
    ]  # fmt: skip
    assert SECRET not in str(trail.listed(empty.store))


def version(client: Client, path: str) -> str:
    """The version that a form was made of."""
    found = re.search(r'name="_version" value="(\d+)"', client.get(path).text)
    assert found, path
    return found[1]


def test_a_key_that_does_not_work_comes_back_with_the_reason(
    empty: places.Place, signed: Signed, stripe: str
) -> None:
    editor = signed(empty, "editor")
    form = {"_name": "shop", "api_key": "rk_test_nobody123456", "api_base": stripe, "budget": "0.8"}
    answer = editor.post("/accounts/-/add", form)
    assert answer.status == 422
    assert 'class="note bad"' in answer.text
    assert "nobody" not in answer.text
    assert 'value="shop"' in answer.text
    wrong = editor.post("/accounts/-/add", {**form, "budget": "7"})
    assert 'id="f-budget-error"' in wrong.text
    assert editing.get(empty, "stripe", "shop") is None


def test_a_key_is_tried_without_being_kept(empty: places.Place, signed: Signed, stripe: str) -> None:
    editor = signed(empty, "editor")
    form = {"_name": "shop", "api_key": READING, "api_base": stripe, "rate_limit": "off", "budget": "0.8"}
    text = editor.post("/accounts/-/test", form, HX_Request="true").text
    assert "rak_payout_read" in text
    assert "https://dashboard.stripe.com/test/apikeys/create?name=Tidegate&amp;permissions" in text
    assert READING not in text
    assert "<h1" not in text
    whole = editor.post("/accounts/-/test", form).text  # without JavaScript it is a page
    assert "Nothing was kept" in whole
    assert "rak_payout_read" in whole
    assert empty.file.stripe == {}


def test_a_warehouse_is_checked_without_being_kept(empty: places.Place, signed: Signed) -> None:
    editor = signed(empty, "editor")
    form = {"_name": "prod", "_type": "postgres", "url": "postgres://u:geheim@127.0.0.1:1/d"}
    text = editor.post("/warehouses/-/check", form, HX_Request="true").text
    assert "firewalls" in text
    assert "geheim" not in text
    assert "Nothing was kept" in editor.post("/warehouses/-/check", form).text
    wrong = editor.post(
        "/warehouses/-/check", {**form, "url": "", "host": "h", "port": "many"}, HX_Request="true"
    )
    assert "port" in wrong.text
    assert empty.file.warehouses == {}


def test_a_kept_secret_stays_when_its_input_is_left_empty(
    empty: places.Place, signed: Signed, stripe: str
) -> None:
    editor = signed(empty, "editor")
    body = {"api_key": SECRET, "api_base": stripe, "rate_limit": "off"}
    editing.change(empty, "ann", "stripe", "shop", body, None)
    empty.look()
    text = editor.get("/accounts/shop/edit").text
    assert "kept: …6789" in text
    form = {"_version": version(editor, "/accounts/shop/edit"), "api_key": "", "api_base": stripe, "budget": "0.5",
            "rate_limit": "off", "accounts": "own"}  # fmt: skip
    assert editor.post("/accounts/shop/edit", form).status == 303
    connection = empty.file.stripe["shop"]
    assert connection.api_key is not None
    assert (connection.api_key.get_secret_value(), connection.budget) == (SECRET, 0.5)
    late = editor.post("/accounts/shop/edit", {**form, "budget": "0.6"})
    assert late.status == 422
    assert "look at it again" in late.text


def test_a_connection_that_signs_in_with_stripe_is_edited_without_a_key(
    empty: places.Place, signed: Signed, stripe: str
) -> None:
    oauth = {"client_id": "ca_1", "client_secret": "sk_test_platform12345", "access_token": SECRET}
    body = {"oauth": oauth, "api_base": stripe, "rate_limit": "off"}
    editing.change(empty, "ann", "stripe", "shop", body, None)
    empty.look()
    editor = signed(empty, "editor")
    text = editor.get("/accounts/shop/edit").text
    assert 'name="api_key"' not in text
    form = {
        "_version": version(editor, "/accounts/shop/edit"),
        "api_base": stripe,
        "budget": "0.5",
        "rate_limit": "off",
    }
    assert editor.post("/accounts/shop/edit", form).status == 303
    connection = empty.file.stripe["shop"]
    assert connection.key is not None
    assert (connection.key.get_secret_value(), connection.budget) == (SECRET, 0.5)
    page = editor.get("/accounts/shop").text
    assert "6789" in page
    assert "with Stripe" in page


def test_what_goes_is_typed(empty: places.Place, signed: Signed) -> None:
    editor = signed(empty, "editor")
    body = {"type": "duckdb", "path": "w.duckdb"}
    editing.change(empty, "ann", "warehouses", "local", body, None)
    empty.look()
    seen_version = version(editor, "/warehouses/local")
    assert editor.post("/warehouses/local/remove", {"_version": seen_version, "words": "lokal"}).status == 422
    assert editor.post("/warehouses/local/remove", {"_version": seen_version, "words": "local"}).status == 303
    assert empty.file.warehouses == {}


def test_what_stands_in_the_file_says_so_and_stays(place: places.Place, signed: Signed) -> None:
    editor = signed(place, "editor")
    for path in ("/accounts/acme/edit", "/warehouses/local/edit", "/streams/everything/-/settings"):
        assert "This is written in tidegate.yaml, line" in editor.get(path).text, path
        answer = editor.post(path, {"_version": "0"})
        assert answer.status == 409, path
        assert "change it there" in answer.text
    assert editor.post("/streams/everything/charges/edit", {}).status == 409
    assert editor.post("/accounts/acme/remove", {"words": "acme"}).status == 409


def configured(place: places.Place, stripe: str) -> None:
    """A pull that was made in the browser."""
    editing.change(place, "ann", "stripe", "shop", {"api_key": SECRET, "api_base": stripe}, None)
    editing.change(place, "ann", "warehouses", "local", {"type": "duckdb", "path": "w.duckdb"}, None)
    streams = {"*": {"exclude": ["description"]}, "charges": {"history": True}}
    editing.change(place, "ann", "pulls", "all", {"from": "shop", "to": "local", "streams": streams}, None)
    place.look()


def test_a_stream_is_set_with_no_more_written_down_than_it_has_of_its_own(
    empty: places.Place, signed: Signed, stripe: str
) -> None:
    configured(empty, stripe)
    editor = signed(empty, "editor")
    path = "/streams/all/customers/edit"
    form = {
        "_version": version(editor, path), "enabled": "on", "mode": "incremental", "deletes": "hard",
        "lookback": "30d", "new": "in", "column:email": "hash", "column:description": "exclude",
        "where": '{"field": "address.country", "op": "is", "value": "DE"}',
    }  # fmt: skip
    assert editor.post(path, form).status == 303
    part = editing.get(empty, "pulls", "all")
    assert part is not None
    assert part.body["streams"] == {
        "*": {"exclude": ["description"]},
        "charges": {"history": True},
        "customers": {
            "deletes": "hard",
            "lookback": "30d",
            "hash": ["email"],
            "where": {"field": "address.country", "op": "is", "value": "DE"},
        },
    }
    text = editor.get(path).text
    assert '<option value="hash" selected>Hashed' in text
    assert "address.country" in text
    again = {**form, "_version": version(editor, path)}
    assert editor.post(path, again).status == 303
    assert editing.get(empty, "pulls", "all") == part


def test_columns_of_ones_own_are_set_and_stay(empty: places.Place, signed: Signed, stripe: str) -> None:
    configured(empty, stripe)
    editor = signed(empty, "editor")
    path = "/streams/all/charges/edit"
    form = {
        "_version": version(editor, path), "enabled": "on", "mode": "incremental", "deletes": "soft",
        "history": "on", "new": "in", "column:description": "exclude",
        "derive": '{"net": {"sql": "amount - amount_refunded", "type": "integer"}}',
    }  # fmt: skip
    assert editor.post(path, form).status == 303
    part = editing.get(empty, "pulls", "all")
    assert part is not None
    assert part.body["streams"]["charges"] == {
        "history": True,
        "derive": {"net": {"sql": "amount - amount_refunded", "type": "integer"}},
    }
    assert "amount - amount_refunded" in editor.get(path).text
    text = editor.get("/streams/all/charges/columns").text
    assert "Derived by the pull all" in text
    assert ">derived<" in text
    assert editor.post(path, {**form, "_version": version(editor, path)}).status == 303
    assert editing.get(empty, "pulls", "all") == part
    wrong = editor.post(path, {**form, "_version": version(editor, path), "derive": "{"})
    assert "derive: this is no JSON" in wrong.text


def test_what_a_stream_cannot_have_comes_back_by_field(
    empty: places.Place, signed: Signed, stripe: str
) -> None:
    configured(empty, stripe)
    editor = signed(empty, "editor")
    path = "/streams/all/customers/edit"
    form = {"_version": version(editor, path), "enabled": "on", "lookback": "sometimes"}
    answer = editor.post(path, form)
    assert answer.status == 422
    assert 'id="f-lookback-error"' in answer.text
    assert 'value="sometimes"' in answer.text
    assert editor.post(path, {**form, "lookback": "", "where": "{"}).status == 422


def test_what_would_have_the_next_run_of_all_streams_fail_is_refused_in_the_form(
    empty: places.Place, signed: Signed, stripe: str
) -> None:
    configured(empty, stripe)
    editor = signed(empty, "editor")
    path = "/streams/all/charges/edit"
    before = editing.get(empty, "pulls", "all")
    form = {"_version": version(editor, path), "enabled": "on", "mode": "incremental", "deletes": "soft"}
    for given, why in (
        ({"where": '{"field": "amuont", "op": "is", "value": 5}'}, "did you mean amount?"),
        ({"derive": '{"net": {"sql": "amuont - 1", "type": "integer"}}'}, "pulls.all.streams.charges: "),
    ):
        answer = editor.post(path, form | given)
        assert (answer.status, "the next run goes by it" in answer.text) == (422, False)
        assert why in answer.text
    assert editing.get(empty, "pulls", "all") == before
    where = '{"field": "amount", "op": "is", "value": 5}'
    assert editor.post(path, form | {"where": where}).status == 303


def test_a_stream_is_left_out_and_taken_again(empty: places.Place, signed: Signed, stripe: str) -> None:
    configured(empty, stripe)
    editor = signed(empty, "editor")
    path = "/streams/all/charges/edit"
    common = {
        "mode": "incremental",
        "deletes": "soft",
        "history": "on",
        "new": "in",
        "column:description": "exclude",
    }
    assert editor.post(path, {**common, "_version": version(editor, path)}).status == 303
    assert empty.file.pulls["all"].takes("charges") is False
    assert "leaves the stream out" in editor.get("/streams/all/charges").text
    assert editor.post(path, {**common, "enabled": "on", "_version": version(editor, path)}).status == 303
    part = editing.get(empty, "pulls", "all")
    assert part is not None
    assert part.body["streams"]["charges"] == {"history": True}


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("every 6h", "every 6h"),
        ("0 6 * * *", {"cron": "0 6 * * *"}),
        ('{every: 6h, anchor: "02:00"}', {"every": "6h", "anchor": "02:00"}),
        ("continuous", "continuous"),
    ],
)
def test_a_schedule_is_typed_as_in_the_file(
    empty: places.Place, signed: Signed, stripe: str, typed: str, kept: object
) -> None:
    configured(empty, stripe)
    editor = signed(empty, "editor")
    path = "/streams/all/-/settings"
    form = {"_version": version(editor, path), "from": "shop", "to": "local", "schedule": typed}
    assert editor.post(path, form).status == 303
    part = editing.get(empty, "pulls", "all")
    assert part is not None
    assert part.body["schedule"] == kept
    text = editor.get(path).text
    again = re.search(r'name="schedule" type="text" value="(.*?)"', text)
    assert again
    form |= {
        "_version": version(editor, path),
        "schedule": again[1].replace("&#39;", "'").replace("&#34;", '"'),
    }
    assert editor.post(path, form).status == 303
    assert editing.get(empty, "pulls", "all") == part


def test_a_thousand_streams_of_accounts_come_page_by_page(place: places.Place, signed: Signed) -> None:
    accounts = [seen.table("charges", n, f"acct_{n:04}") for n in range(1000)]
    seen.stands(place, "pull:everything", *accounts)
    viewer = signed(place, "viewer")
    first = viewer.get("/streams/everything/charges").text
    assert first.count("<tr") == 101
    assert "Page" in first
    last = viewer.get("/streams/everything/charges?page=10").text
    assert "acct_0000" in last
    assert "acct_0000" not in first
    assert "acct_0500" in viewer.get("/streams/everything/charges?search=0500").text
    connected = viewer.get("/accounts/acme/connected").text
    assert connected.count("<tr") == 51
    assert 'rel="next"' in connected


def test_the_newest_rows_and_the_checks_are_asked_for(place: places.Place, signed: Signed) -> None:
    operator = signed(place, "operator")
    path = "/streams/everything/customers/rows"
    assert "As Stripe has them just now" in operator.get(path).text, "nothing is stored yet"
    opened = warehouse.open_url(f"duckdb:///{place.file.warehouses['local'].file}")  # type: ignore[union-attr]  # it is DuckDB
    table = dataclasses.replace(loads.ITEMS, name="customers")
    rows = pa.Table.from_pylist([loads.row("cus_stored", 1, "Ann")], schema=table.schema)
    opened.prepare([table])
    opened.load([base.Load(table, rows)], {})
    opened.close()
    text = operator.get(path).text
    assert "cus_stored" in text
    assert "As they stand in" in text
    text = operator.get(f"{path}?of=stripe").text
    assert "cus_stored" not in text
    assert "cus_" in text
    assert "smallest unit" not in text
    assert "Amounts are in the smallest unit" in operator.get("/streams/everything/charges/rows").text
    text = operator.post("/warehouses/local/check").text
    assert text.count('data-state="ok"') == 3
    assert operator.post("/accounts/acme/test").status == 303
    assert "Streams that can be read" in operator.get("/accounts/acme").text
    assert "acct_" in operator.get("/accounts/acme/at-stripe").text


def test_webhooks_from_the_page(place: places.Place, signed: Signed) -> None:
    editor = signed(place, "editor")
    path = "/accounts/acme/webhooks"
    assert "No endpoint was made yet." in editor.get(path).text
    assert editor.post(path, {"url": "https://tidegate.example.com"}).status == 303
    assert "Stripe delivers" in said(editor, path)
    assert "Enabled" in editor.get(f"{path}?ask=yes").text
    assert editor.post(f"{path}/disable", {"words": "acme"}).status == 303
    assert said(editor, path) == "1 endpoint is gone; events are read as before."


def test_a_connection_says_whose_it_is_once_something_was_pulled(place: places.Place, signed: Signed) -> None:
    viewer = signed(place, "viewer")
    assert "acct_1" not in viewer.get("/accounts/acme").text
    seen.stands(place, "pull:everything", seen.table("charges"))
    assert "acct_1" in viewer.get("/accounts/acme").text
    seen.stands(place, "pull:everything", seen.table("charges"), seen.table("charges", account="acct_2"))
    assert "acct_1" not in viewer.get("/accounts/acme").text, "of several none is its own"


def test_a_connection_without_a_key_leads_to_the_sign_in_and_offers_no_trial_of_it(
    place: places.Place, signed: Signed
) -> None:
    app = {"client_id": "ca_rockets", "client_secret": SECRET}
    editing.change(place, "ann", "stripe", "shop", {"oauth": app}, None, admin=True)
    place.look()
    page = signed(place, "editor").get("/accounts/shop").text
    assert re.search(r'href="/accounts/shop/consent">Sign in with Stripe', page)
    assert "Test the key" not in page


def test_an_address_that_stripe_cannot_reach_is_not_offered_for_webhooks(
    place: places.Place, signed: Signed
) -> None:
    assert 'name="url" type="url" value=""' in signed(place, "editor").get("/accounts/acme/webhooks").text


GONE = (
    "5,120 of 9,300 rows of charges are no longer listed by Stripe; they were kept as they are. "
    "If they are really gone, run `tidegate pull --accept-deletes charges`."
)


def test_rows_that_are_held_go_when_somebody_accepts_it(place: places.Place, signed: Signed) -> None:
    seen.stands(place, "pull:everything", seen.table("charges", held=GONE))
    page, accept = "/streams/everything/charges", "/streams/everything/charges/accept-deletes"
    assert "Accept the deletes" not in signed(place, "viewer").get(page).text
    ann = signed(place, "operator")
    assert "5,120 of 9,300 rows" in ann.get(page).text
    assert f'action="{accept}"' in ann.get(page).text
    assert ann.post(accept, {"words": "invoices"}).status == 422
    assert runs.listed(place.store) == []
    answer = ann.post(accept, {"words": "charges"})
    [run] = runs.listed(place.store)
    assert (answer.status, answer.headers["location"]) == (303, f"/runs/{run.id}")
    assert run.options == {"accept_deletes": ["charges"]}
    assert 'accept-deletes"' not in ann.get("/streams/everything/payouts").text


def test_a_pull_that_runs_all_the_time_is_cancelled_before_deletes_are_accepted(
    tmp_path: Path, signed: Signed
) -> None:
    file = seen.written(tmp_path)
    file.write_text(file.read_text().replace("every 15m", "continuous"))
    with seen.place(file) as place:
        seen.stands(place, "pull:everything", seen.table("charges", held=GONE))
        run = runs.queue(place.store, "run_1", "pull:everything", "continuous")
        answer = signed(place, "operator").post(
            "/streams/everything/charges/accept-deletes", {"words": "charges"}
        )
        assert (answer.status, answer.headers["location"]) == (303, f"/runs/{run.id}")
        assert [each.id for each in runs.listed(place.store)] == [run.id]


def test_a_stream_says_how_soon_a_change_shows_and_when_it_was_pulled(
    place: places.Place, signed: Signed
) -> None:
    seen.stands(place, "pull:everything", seen.table("charges", staleness_s=None, staleness="unbounded"))
    run = seen.ran(place, "pull:everything")
    ann = signed(place, "operator")
    text = ann.get("/streams/everything/charges").text
    assert "No bound: Stripe tells no event of some changes" in text
    assert "<code>/v1/charges</code>, with the permission <code>rak_charge_read</code>" in text
    assert f'href="/runs/{run}"' in text
    assert "stripe.charges" in text
    assert re.search(r'name="flow" value="pull:everything">.*?Run now', text)
    under_way = seen.ran(place, "pull:everything", state="running", took=None, began=1.0)
    text = ann.get("/streams/everything/charges").text
    assert "Run now" not in text
    assert f'href="/runs/{under_way}">Follow its run' in text


def test_a_stream_of_a_pull_without_a_schedule_says_that_this_is_why_it_has_no_bound(
    tmp_path: Path, signed: Signed
) -> None:
    file = seen.written(tmp_path)
    file.write_text(file.read_text().replace("every 15m", "manual"))
    with seen.place(file) as place:
        seen.stands(place, "pull:everything", seen.table("charges"))
        text = signed(place, "viewer").get("/streams/everything/charges").text
        assert "No bound: no clock begins the runs of the pull" in text
        assert "Stripe tells no event" not in text


def test_alerts_stand_with_who_is_told(empty: places.Place, signed: Signed) -> None:
    matter = notices.Matter("budget/acct_1", "budget", "", "acct_1: requests have waited.")
    notices.settle(empty.store, "", [matter])
    editor = signed(empty, "editor")
    text = editor.get("/settings/alerts").text
    assert "acct_1: requests have waited." in text
    assert "Nobody is told." in text
    form = {
        "_version": "0",
        "remind": "24h",
        "slack.webhook": "https://hooks.slack.com/services/T0/B0/geheim1234",
    }
    assert editor.post("/settings/alerts/edit", form).status == 303
    text = editor.get("/settings/alerts").text
    assert "hooks.slack.com" in text
    assert ">Idle<" in text, "whether messages arrive there is not known yet"
    assert "geheim" not in text
    assert "geheim" not in editor.get("/settings/alerts/edit").text
    wrong = editor.post(
        "/settings/alerts/edit", {"_version": version(editor, "/settings/alerts/edit"), "remind": "1s"}
    )
    assert 'id="f-remind-error"' in wrong.text
