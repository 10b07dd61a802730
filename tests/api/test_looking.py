"""What there is to see over HTTP: the overview, accounts, warehouses, streams, alerts, and checks of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import hearing
import oidc_issuer
import pytest
import seen
from signing import Client, Signed

from tidegate import sandbox
from tidegate.engine import place as places
from tidegate.store import notices, trail

READING = "rk_test_reading12345678"
SECRET = "sk_test_geheim123456789"
MORE = """
models: {people: {warehouse: local, sql: select 1 as id, key: id}}
pushes: {people: {model: people, to: acme, object: customer, match: {email: id}, fields: {name: id}}}
"""


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=60, accounts=3, keys={READING: ("rak_customer_read",)}) as url:
        yield url


@pytest.fixture
def place(stripe: str, tmp_path: Path) -> Iterator[places.Place]:
    file = seen.written(tmp_path, url=stripe, key=SECRET, more=MORE)
    file.write_text(file.read_text().replace("api_base", 'rate_limit: "off", api_base'))
    with seen.place(file) as found:
        seen.ticking(found)
        yield found


@pytest.fixture
def reader(place: places.Place, tokened: Signed) -> Client:
    return tokened(place, "read")


@pytest.fixture
def editor(place: places.Place, tokened: Signed) -> Client:
    return tokened(place, "write")


def test_the_overview(place: places.Place, reader: Client) -> None:
    seen.stands(
        place, "pull:everything", seen.table("charges"), seen.table("payouts", status="failed", error="500")
    )
    run = seen.ran(place, "pull:everything", state="partial", error="payouts: 500")
    found = reader.get("/api/v1/overview").json
    assert found["sentence"].startswith("1 of 2 flows fresh; push:people has not run yet")
    assert [(each["stream"], each["state"]) for each in found["freshness"]] == [
        ("payouts", "failed"),
        ("charges", "fresh"),
    ]
    flow = next(each for each in found["flows"] if each["name"] == "pull:everything")
    assert (flow["last"], flow["last_state"], flow["schedule"]) == (run, "partial", "every 15 minutes")
    assert found["warehouses"][0]["rows"] == 20
    assert found["at"].endswith("Z")


def test_rows_per_hour_are_a_chart(place: places.Place, reader: Client) -> None:
    seen.ran(place, "pull:everything", began=7_200, written=12)
    found = reader.get("/api/v1/overview/hours?count=24").json
    assert len(found["times"]) == 24
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00\.000Z", each) for each in found["times"])
    assert [(each["label"], sum(each["values"])) for each in found["series"]] == [("Pulled", 12)]
    assert reader.get("/api/v1/overview/hours?count=0").status == 422


def test_refreshing_needs_an_operator(place: places.Place, reader: Client, tokened: Signed) -> None:
    assert reader.post("/api/v1/overview/refresh", json={}).status == 403
    operator = tokened(place, "run")
    [found] = operator.post("/api/v1/overview/refresh", json={"pulls": ["everything"]}).json
    assert (found["pull"], found["error"]) == ("everything", "")
    assert operator.post("/api/v1/overview/refresh", json={"pulls": ["other"]}).status == 422


def test_an_account_is_looked_at_and_its_key_is_tried(reader: Client, editor: Client) -> None:
    [account] = reader.get("/api/v1/accounts").json["items"]
    assert (account["name"], account["last4"], account["mode"]) == ("acme", "6789", "test")
    assert reader.get("/api/v1/accounts/acme").json == account
    assert reader.get("/api/v1/accounts/other").status == 404
    assert reader.post("/api/v1/accounts/acme/test").status == 403
    tested = editor.post("/api/v1/accounts/acme/test").json
    assert (tested["restricted"], tested["missing"]) == (False, {})
    assert tested["account"].startswith("acct_")


def test_a_key_is_tried_without_being_kept(place: places.Place, editor: Client, stripe: str) -> None:
    body = {"api_key": READING, "api_base": stripe, "rate_limit": "off"}
    answer = editor.post("/api/v1/accounts/test", json={"name": "shop", "body": body})
    assert answer.status == 200
    assert "rak_payout_read" in answer.json["missing"]
    assert "permissions%5B%5D=rak_payout_read" in answer.json["grant_link"]
    assert READING not in answer.text
    assert "shop" not in place.file.stripe
    wrong = editor.post("/api/v1/accounts/test", json={"name": "shop", "body": {**body, "budget": 7}})
    assert wrong.status == 422
    assert [each["path"] for each in wrong.json["errors"]] == ["budget"]


def test_connected_accounts_come_page_by_page(place: places.Place, reader: Client, editor: Client) -> None:
    names = [f"acct_{n}" for n in range(5)]
    seen.stands(place, "pull:everything", *(seen.table("charges", account=name) for name in names))
    first = reader.get("/api/v1/accounts/acme/connected?limit=3").json
    rest = reader.get(f"/api/v1/accounts/acme/connected?limit=3&after={first['next']}").json
    assert [each["account"] for each in (*first["items"], *rest["items"])] == names
    assert rest["next"] is None
    assert len(editor.get("/api/v1/accounts/acme/connected-at-stripe").json["items"]) >= 2
    assert editor.get("/api/v1/accounts/acme/connected-at-stripe?search=Smith").status == 422


def test_webhooks_are_made_seen_and_removed(place: places.Place, reader: Client, editor: Client) -> None:
    way = {"url": "https://tidegate.example.com"}
    assert reader.ask("PUT", "/api/v1/accounts/acme/webhooks", json=way).status == 403
    [made] = editor.ask("PUT", "/api/v1/accounts/acme/webhooks", json=way).json
    assert (made["made"], made["url"]) == (True, "https://tidegate.example.com/webhooks/stripe/acme")
    known = reader.get("/api/v1/accounts/acme/webhooks").json
    assert [(each["id"], each["status"]) for each in known["endpoints"]] == [(made["id"], "")]
    asked = editor.get("/api/v1/accounts/acme/webhooks?ask=true").json
    assert [each["status"] for each in asked["endpoints"]] == ["enabled"]
    replayed = editor.post("/api/v1/accounts/acme/webhooks/replay", json={"since": "2h"}).json
    assert replayed == {"flows": {"pull:everything": 0}}
    assert editor.post("/api/v1/accounts/acme/webhooks/replay", json={"since": "soon"}).status == 422
    assert editor.ask("DELETE", "/api/v1/accounts/acme/webhooks").json == {"removed": 1}
    assert "whsec" not in str(trail.listed(place.store))


def test_warehouses_are_checked_step_by_step(reader: Client, editor: Client) -> None:
    [found] = reader.get("/api/v1/warehouses").json["items"]
    assert (found["name"], found["schema"], found["flows"]) == (
        "local",
        "stripe",
        ["pull:everything", "push:people"],
    )
    assert reader.post("/api/v1/warehouses/local/check").status == 403
    checked = editor.post("/api/v1/warehouses/local/check").json
    assert checked["ok"]
    assert [each["name"] for each in checked["steps"]] == ["reach", "read", "write"]
    draft = {"name": "prod", "body": {"url": "postgres://u:geheim@127.0.0.1:1/d"}}
    answer = editor.post("/api/v1/warehouses/check", json=draft)
    assert answer.json["steps"][0]["mend"]
    assert "geheim" not in answer.text
    wrong = editor.post("/api/v1/warehouses/check", json={"name": "prod", "body": {"type": "oracle"}})
    assert wrong.status == 422


def test_streams_of_the_catalog(reader: Client) -> None:
    found = reader.get("/api/v1/streams?search=issuing_*&limit=500").json["items"]
    assert {"issuing_cards", "issuing_cardholders"} <= {each["name"] for each in found}
    names, after = [], ""
    while after is not None:
        page = reader.get(f"/api/v1/streams?limit=50{f'&after={after}' if after else ''}").json
        names += [each["name"] for each in page["items"]]
        after = page["next"]
    assert names == sorted(set(names))
    schema = reader.get("/api/v1/streams/charges/schema").json
    assert schema["key"] == ["_account_id", "id"]
    assert reader.get("/api/v1/streams/charge").status == 404


def test_the_columns_of_a_stream_have_those_that_pulls_derive(place: places.Place, reader: Client) -> None:
    file = place.folder.parent / "tidegate.yaml"
    own, taken = "schedule: every 15m", "streams: {charges: {derive: {web: {value: true}}}}"
    file.write_text(file.read_text().replace(own, f"{own}, {taken}"))
    place.look()

    def names(query: str) -> list[str]:
        found = reader.get(f"/api/v1/streams/charges/schema{query}").json["columns"]
        return [each["name"] for each in found]

    assert names("") == names("?pull=everything") == names("?to=arrow")
    assert names("")[names("").index("_extra") - 1] == "web"
    refused = reader.get("/api/v1/streams/charges/schema?pull=other")
    assert (refused.status, "no pull 'other'" in refused.json["detail"]) == (422, True)


def test_signing_in_by_openid_is_checked(place: places.Place, reader: Client, editor: Client) -> None:
    assert reader.post("/api/v1/checks/sign-in").status == 403
    assert editor.post("/api/v1/checks/sign-in").status == 404
    file = place.folder.parent / "tidegate.yaml"
    with oidc_issuer.running() as issuer:
        oidc = {"issuer": issuer.url, "client_id": oidc_issuer.CLIENT, "client_secret": oidc_issuer.SECRET}
        file.write_text(f"{file.read_text()}server: {json.dumps({'oidc': oidc})}\n")
        place.look()
        answer = editor.post("/api/v1/checks/sign-in")
    assert answer.json["ok"]
    assert [each["name"] for each in answer.json["steps"]] == ["issuer", "keys", "redirect address", "client"]
    assert oidc_issuer.SECRET not in answer.text


def test_how_streams_of_pulls_stand(place: places.Place, reader: Client) -> None:
    seen.stands(place, "pull:everything", seen.table("charges", rows=7), seen.table("payouts", rows=9))
    found = reader.get("/api/v1/standings?sort=-rows&limit=2").json
    assert [(each["stream"], each["rows"]) for each in found["items"]] == [("payouts", 9), ("charges", 7)]
    more = reader.get(f"/api/v1/standings?sort=-rows&limit=2&after={found['next']}").json
    assert all(each["rows"] == 0 for each in more["items"])
    one = reader.get("/api/v1/standings/everything/charges").json
    assert (one["line"]["mode"], one["tables"][0]["account"]) == ("incremental", "acct_1")
    assert reader.get("/api/v1/standings?pull=other").status == 422
    assert reader.get("/api/v1/standings/other/charges").status == 404
    assert reader.get("/api/v1/standings?sort=colour").status == 422


def test_the_newest_rows(reader: Client, editor: Client) -> None:
    assert reader.get("/api/v1/streams/customers/rows").status == 403
    found = editor.get("/api/v1/streams/customers/rows?limit=2").json
    assert len(found["rows"]) == 2
    assert set(found["telling"]) <= set(found["rows"][0])


def test_alerts_and_whether_they_arrive(place: places.Place, reader: Client, editor: Client) -> None:
    matter = notices.Matter("pull:everything/failed", "failed", "pull:everything", "It failed; look at it.")
    notices.settle(place.store, "pull:everything", [matter])
    [alert] = reader.get("/api/v1/alerts?search=look").json["items"]
    assert (alert["title"], alert["resolved_at"]) == ("pull:everything failed", None)
    assert reader.get("/api/v1/alerts?kind=held").json["items"] == []
    assert editor.post("/api/v1/alerts/test").status == 422
    with hearing.hook() as ear:
        file = place.folder.parent / "tidegate.yaml"
        file.write_text(file.read_text() + f"alerts: {{webhook: {{url: '{ear.url}'}}}}\n")
        place.look()
        assert editor.post("/api/v1/alerts/test").json == [{"channel": "webhook", "error": ""}]
        [target] = reader.get("/api/v1/alerts/targets").json["items"]
        assert target["where"].startswith("127.0.0.1")
        assert "geheim" not in str(target)
    assert len(ear.heard) == 1


def test_models_and_pushes_are_checked(editor: Client, place: places.Place) -> None:
    duckdb.connect(str(place.folder.parent / "w.duckdb")).close()
    model = editor.post("/api/v1/checks/models/people").json
    assert (model["ok"], model["steps"][-1]["name"]) == (True, "query")
    push = editor.post("/api/v1/checks/pushes/people").json
    assert "model" in {each["name"] for each in push["steps"]}
    assert editor.post("/api/v1/checks/models/other").status == 404
    assert editor.post("/api/v1/checks/others/people").status == 422


def test_no_answer_has_the_key(reader: Client) -> None:
    paths = (
        "overview", "overview/hours", "accounts", "accounts/acme", "accounts/acme/connected",
        "accounts/acme/webhooks", "warehouses", "warehouses/local", "standings", "alerts", "alerts/targets",
    )  # fmt: skip
    for path in paths:
        answer = reader.get(f"/api/v1/{path}")
        assert answer.status == 200, path
        assert SECRET not in answer.text, path
        assert answer.headers["cache-control"] == "no-store"
