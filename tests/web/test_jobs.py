"""The pages of audits, estimates and forgetting, without a browser."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import audited
import pytest
from signing import Client, Signed

from tidegate.engine import place as places
from tidegate.store import jobs


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with audited.stripe() as url:
        yield url


@pytest.fixture
def place(stripe: str, tmp_path: Path) -> Iterator[places.Place]:
    with audited.place(tmp_path, stripe) as found:
        yield found


def ended(place: places.Place, client: Client, path: str, form: dict[str, str]) -> str:
    """The address of the job that a form begins, once it has ended."""
    begun = client.post(path, form)
    assert begun.status == 303, begun.text
    at = begun.headers["location"]
    assert client.get(at).status == 200, "it is shown while it goes on, too"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = jobs.get(place.store, at.rpartition("/")[2])
        assert job is not None
        if not job.alive:
            return at
        time.sleep(0.05)
    raise AssertionError("the job does not end")


def cells(text: str) -> list[list[str]]:
    """What stands in the cells of the tables of a page, row by row."""
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.S) for row in re.findall(r"<tr.*?</tr>", text, re.S)]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in rows if row]


def test_an_audit_is_begun_seen_and_repaired(place: places.Place, signed: Signed, tmp_path: Path) -> None:
    gone, _ = audited.spoiled(tmp_path)
    ann = signed(place, "operator", "ann@example.com")
    assert "Nothing was audited yet." in ann.get("/audits").text
    at = ended(place, ann, "/audits", {"pull": "everything", "kind": "audit"})
    text = ann.get(at).text
    assert "72 rows compared: 1 missing, 1 with other values." in text
    [row, *others] = cells(text)
    assert (row[0], row[3:8]) == ("customers", ["12", "11", "1", "–", "1"])
    assert row[8].startswith("Audit it again with repair")
    assert [each[0] for each in others] == ["balance_transactions", "charges"]
    assert gone in text
    assert [each[0] for each in cells(ann.get(f"{at}?wrong=yes").text)] == ["customers"]
    file = ann.get(f"{at}?format=csv")
    assert file.headers["content-type"].startswith("text/csv")
    assert file.text.splitlines()[1].startswith("customers,acct_")
    again = ended(place, ann, f"{at}/repair", {})
    text = ann.get(again).text
    assert "72 rows compared: 1 missing, 1 with other values; 2 repaired." in text
    assert "Audit again and repair" not in text
    listed = cells(ann.get("/audits").text)
    assert [(each[0], each[1], each[2]) for each in listed] == [
        ("Audit", "pull:everything", "Repaired"),
        ("Audit", "pull:everything", "Different"),
    ]


def test_an_estimate_stands_beside_audits(place: places.Place, signed: Signed) -> None:
    ann = signed(place, "operator")
    at = ended(place, ann, "/audits", {"pull": "everything", "streams": "customers", "kind": "estimate"})
    assert cells(ann.get(at).text) == [["customers", "OK", "12", "1", "–"]]
    assert "About 12 rows with 1 request" in ann.get(at).text
    assert cells(ann.get("/audits?kind=audit").text) == []
    assert len(cells(ann.get("/audits?kind=estimate").text)) == 1


def test_what_is_wrong_in_the_form_is_said_and_what_was_typed_stays(
    place: places.Place, signed: Signed
) -> None:
    ann = signed(place, "operator")
    form = {"pull": "everything", "since": "yesterday", "streams": "customers", "kind": "audit"}
    answer = ann.post("/audits", form)
    assert answer.status == 422
    assert "write a date such as 2026-01-31" in answer.text
    assert "--since" not in answer.text
    assert 'value="yesterday"' in answer.text
    assert ann.post("/audits", {"kind": "nothing"}).status == 422
    viewer = signed(place, "viewer")
    assert "Audit a pull" not in viewer.get("/audits").text
    assert viewer.post("/audits", form).status == 403
    assert jobs.listed(place.store) == []


def test_somebody_is_looked_for_and_forgotten_by_admins_only(
    place: places.Place, signed: Signed, tmp_path: Path
) -> None:
    admin, editor = signed(place), signed(place, "editor")
    [[customer]] = audited.query(
        tmp_path, "select customer from stripe.charges where customer is not null limit 1"
    )
    assert "/settings/forget" in admin.get("/settings").text
    assert "/settings/forget" not in editor.get("/settings").text
    assert editor.get("/settings/forget").status == 403
    wrong = admin.post("/settings/forget", {"customers": "ann@example.com"})
    assert (wrong.status, "looks like cus_" in wrong.text) == (422, True)
    at = ended(place, admin, "/settings/forget", {"customers": f"{customer}, "})
    text = admin.get(at).text
    assert "would be erased" in text
    assert ["customers", "1"] in cells(text)
    kept = f"select count(*) from stripe.customers where id = '{customer}' and _deleted_at is null"
    assert audited.query(tmp_path, kept) == [(1,)]
    assert editor.get(at).status == 403
    assert editor.get(at.replace("/settings/forget", "/audits")).status == 404
    assert admin.post(f"{at}/confirm", {"words": "yes"}).status == 422
    done = ended(place, admin, f"{at}/confirm", {"words": "forget"})
    text = admin.get(done).text
    assert "are erased." in text
    assert "Forget for good" not in text
    assert audited.query(tmp_path, kept) == [(0,)]
    assert cells(admin.get("/settings/forget").text)[0][0] == customer
