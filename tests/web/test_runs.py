"""The pages of runs, without a browser: what they show, what they do, who may."""

from __future__ import annotations

import concurrent.futures
import csv
import html
import io
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import running
from signing import Client, Signed
from starlette import requests

from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.store import reports, runs, trail
from tidegate.web import frame, run_tables

WRONG = "charges: The key may not read charges (req_A1b2C3d4E5f6)."


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with running.place(tmp_path) as found:
        yield found


@pytest.fixture
def ann(place: places.Place, signed: Signed) -> Client:
    return signed(place, "operator", "ann@example.com")


def heard(client: Client, path: str) -> Iterator[str]:
    """The HTML of the events of a live region, one after the other."""
    request = urllib.request.Request(client.url + path)
    request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in client.jar.items()))
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: list[str] = []
        for each in answer:
            name, _, value = each.decode().rstrip("\n").partition(": ")
            if name == "data":
                found.append(value)
            elif not name and found:
                yield "\n".join(found)
                found = []


def text(html: str) -> str:
    """What is to be read."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def listed(html: str) -> list[str]:
    """The runs of a table, in its order."""
    return re.findall(r'<a class="row-link" href="/runs/(run_\w+)"', html)


class TestList:
    def test_without_runs_it_says_what_to_do(self, ann: Client) -> None:
        page = ann.get("/runs")
        assert page.status == 200
        assert "Nothing ran yet." in page.text
        assert 'href="/streams"' in page.text

    def test_newest_first_page_by_page(self, place: places.Place, ann: Client) -> None:
        made = [running.ended(place.store, ago=1000.0 - n) for n in range(60)]
        first = ann.get("/runs").text
        assert "60 rows" in text(first)
        [onward] = re.findall(r'href="([^"]+)" rel="next"', first)
        running.ended(place.store)
        second = ann.get(onward.replace("&amp;", "&")).text
        assert listed(first) + listed(second) == [run.id for run in reversed(made)]

    def test_filters_and_search_are_in_the_address(self, place: places.Place, ann: Client) -> None:
        old = running.ended(place.store, "pull:finance", ago=7200.0)
        failed = running.ended(place.store, state="failed", error=WRONG)
        going = running.begun(place.store, "push:accounts")
        assert listed(ann.get("/runs?state=wrong").text) == [failed.id]
        assert listed(ann.get("/runs?state=going").text) == [going.id]
        assert listed(ann.get("/runs?kind=push").text) == [going.id]
        assert listed(ann.get("/runs?flow=pull:finance").text) == [old.id]
        assert listed(ann.get("/runs?since=1h&kind=pull").text) == [failed.id]
        assert listed(ann.get("/runs?search=may+not").text) == [failed.id]
        assert "Nothing matches." in ann.get("/runs?search=nothing").text
        assert len(listed(ann.get("/runs?state=nonsense&since=x&cause=y").text)) == 3, (
            "is as if it were not there"
        )
        assert ann.get("/runs?after=nonsense").status == 422

    def test_all_of_them_as_a_file(self, place: places.Place, ann: Client) -> None:
        running.ended(place.store, "pull:finance", written=7)
        failed = running.ended(place.store, state="failed", error=WRONG)
        answer = ann.get("/runs?format=csv&state=failed")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        headings, row = csv.reader(io.StringIO(answer.text))
        assert tuple(headings) == run_tables.HEADINGS
        assert (row[0], row[2], row[-1]) == (failed.id, "failed", WRONG)
        assert len(list(csv.reader(io.StringIO(ann.get("/runs?format=csv").text)))) == 3

    def test_a_run_leads_to_what_ran_and_each_table_to_its_stream(
        self, place: places.Place, ann: Client
    ) -> None:
        run = running.ended(place.store, "pull:everything")
        reports.keep(place.store, run.id, [{"stream": "customers", "account": "acct_1", "status": "ok"}])
        for path in ("", "/report", "/log"):
            page = ann.get(f"/runs/{run.id}{path}").text
            assert 'href="/streams/everything">See the pull' in page, path
            assert 'href="/runs?flow=pull%3Aeverything">All its runs' in page, path
        assert 'href="/streams/everything/customers"' in ann.get(f"/runs/{run.id}/report").text
        gone = running.ended(place.store, "pull:gone")
        assert "See the pull" not in ann.get(f"/runs/{gone.id}").text

    def test_a_flow_is_begun_by_those_who_may(self, place: places.Place, ann: Client, signed: Signed) -> None:
        assert "Run a flow" in ann.get("/runs").text
        done = ann.post("/runs", {"flow": "pull:everything", "full_refresh": "on"})
        [run] = runs.listed(place.store)
        assert (done.status, done.headers["location"]) == (303, f"/runs/{run.id}")
        assert (run.cause, run.options) == ("manual", {"full_refresh": True})
        assert trail.listed(place.store)[0].who == "ann@example.com"
        twice = ann.post("/runs", {"flow": "pull:everything"})
        assert (twice.status, twice.headers["location"]) == (303, f"/runs/{run.id}")
        assert "nothing more was begun" in ann.get(f"/runs/{run.id}").text
        assert [each.id for each in runs.listed(place.store)] == [run.id]
        assert ann.post("/runs", {"flow": "nothing"}).status == 404
        viewer = signed(place, "viewer")
        assert "Run a flow" not in viewer.get("/runs").text
        assert viewer.post("/runs", {"flow": "pull:finance"}).status == 403
        assert len(runs.listed(place.store)) == 1


class TestLive:
    def test_the_table_comes_again_whenever_a_run_begins_or_ends(
        self, place: places.Place, ann: Client
    ) -> None:
        told = heard(ann, "/runs/-/live")
        assert "Nothing ran yet." in next(told)
        run = runs.queue(place.store, runs.new_id(), "pull:everything", "manual")
        assert "Queued" in text(next(told))
        runs.begin(place.store, run.id, running.WORKER)
        assert "Running" in text(next(told))
        runs.end(place.store, run.id, running.WORKER, "ok")
        html = next(each for each in told if "OK" in text(each))
        assert listed(html) == [run.id]
        assert "<section" not in html, "the search above it stays as it is"

    def test_only_the_first_page_of_what_is_not_searched_is_live(
        self, place: places.Place, ann: Client
    ) -> None:
        for n in range(60):
            running.ended(place.store, ago=1000.0 - n)
        first = ann.get("/runs?state=ok").text
        assert 'src="/runs/-/live?state=ok"' in first
        [onward] = re.findall(r'href="([^"]+)" rel="next"', first)
        assert onward.startswith("/runs?")
        assert "tg-live" not in ann.get(onward.replace("&amp;", "&")).text
        assert "tg-live" not in ann.get("/runs?search=every").text
        [onward] = re.findall(r'href="([^"]+)" rel="next"', next(heard(ann, "/runs/-/live?state=ok")))
        assert onward.startswith("/runs?state=ok"), "pages are those of the table, not of its events"

    def test_fifty_who_look_cost_as_much_as_one(
        self, place: places.Place, signed: Signed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn: list[str] = []
        fragment = frame.fragment

        def counted(request: requests.Request, asker: asking.Asker | None, template: str, **more: Any) -> Any:
            drawn.append(template)
            return fragment(request, asker, template, **more)

        monkeypatch.setattr(frame, "fragment", counted)
        clients = [signed(place, "viewer", f"viewer{n}@example.com") for n in range(50)]
        told = [heard(each, "/runs/-/live") for each in clients]
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            assert all("Nothing ran yet." in html for html in pool.map(next, told))
            before = len(drawn)
            running.ended(place.store)
            assert all("OK" in text(html) for html in pool.map(next, told))
        assert before <= 25, "they did not come within one second"
        assert len(drawn) - before <= 2

    def test_nobody_looks_who_may_not(self, place: places.Place, stranger: Signed) -> None:
        for path in ("/runs/-/live", "/overview/live"):
            assert stranger(place).get(path).status in (303, 401)


class TestRun:
    def test_what_it_did_and_what_went_wrong(self, place: places.Place, ann: Client) -> None:
        run = running.ended(
            place.store,
            state="partial",
            error=WRONG,
            read=20,
            written=14,
            requests=1_234,
            retries=3,
            rate_limited=2,
        )
        running.got(place.store, run, {}, {"stream": "charges", "status": "no_permission", "error": WRONG})
        running.said(place.store, run, ["It began."])
        running.said(place.store, run, [WRONG], first=1, level="error")
        html = ann.get(f"/runs/{run.id}").text
        shown = text(html)
        for each in ("Partial", "1,234", "Made again 3", "Rate limited 2", "Loading report (2)", "It began."):
            assert each in shown, each
        assert "No permission" in shown
        link = '<a href="https://dashboard.stripe.com/test/logs/req_A1b2C3d4E5f6"'
        assert html.count(link) >= 2
        assert "Run again" in shown
        assert "tg-live" not in html, "nothing comes any more"

    def test_while_it_goes_on_it_says_how_far_it_is(self, place: places.Place, ann: Client) -> None:
        run = running.begun(place.store, full_refresh=True)
        stream = {"rows": 30, "requests": 3, "estimate": 60, "begun": 1, "ended": 0, "status": "running"}
        how = {"phase": "pulling", "rows": 30, "requests": 3, "rate": 12.5, "limit": 80.0}
        runs.beat(place.store, run.id, running.WORKER, {**how, "streams": {"charges": stream}})
        html = ann.get(f"/runs/{run.id}").text
        shown = text(html)
        for each in (
            "Running",
            "Pulling",
            "12.5 requests/s",
            "67.5 of 80.0 requests/s",
            "full refresh",
            "0 of 1",
        ):
            assert each in shown, each
        assert f'<tg-live src="/runs/{run.id}/live"' in html
        assert 'max="1" value="0.5000"' in html
        assert "What it committed stays" in shown

    def test_text_of_a_log_is_text(self, place: places.Place, ann: Client) -> None:
        run = running.ended(place.store, error="<script>alert(1)</script> req_A1b2C3d4E5f6 <b>")
        running.said(place.store, run, ["<img src=x>"])
        for more in ("", "/log"):
            html = ann.get(f"/runs/{run.id}{more}").text
            assert "<script>alert" not in html
            assert "<img" not in html
            assert "&lt;img src=x&gt;" in html

    def test_it_is_cancelled_and_done_again(self, place: places.Place, ann: Client) -> None:
        run = running.begun(place.store)
        done = ann.post(f"/runs/{run.id}/cancel", {})
        assert (done.status, done.headers["location"]) == (303, f"/runs/{run.id}")
        assert "Ending" in ann.get(f"/runs/{run.id}").text
        assert runs.get(place.store, run.id).cancelled_by == "ann@example.com"
        runs.end(place.store, run.id, running.WORKER, "cancelled")
        again = ann.post(f"/runs/{run.id}/retry", {})
        [newest, _] = runs.listed(place.store)
        assert again.headers["location"] == f"/runs/{newest.id}"
        assert newest.cause == "retry"
        assert ann.post(f"/runs/{run.id}/cancel", {}).status == 409

    def test_who_looks_has_no_buttons(self, place: places.Place, signed: Signed) -> None:
        going, done = running.begun(place.store), running.ended(place.store, "pull:finance")
        viewer = signed(place, "viewer")
        for run in (going, done):
            html = viewer.get(f"/runs/{run.id}").text
            assert "/cancel" not in html
            assert "/retry" not in html
            assert viewer.post(f"/runs/{run.id}/cancel", {}).status == 403

    def test_of_a_flow_that_is_gone_nothing_can_be_done_again(self, place: places.Place, ann: Client) -> None:
        run = running.ended(place.store, "pull:gone")
        assert "Run again" not in ann.get(f"/runs/{run.id}").text

    def test_there_is_no_other(self, ann: Client) -> None:
        for more in ("", "/log", "/report", "/live"):
            assert ann.get(f"/runs/run_nothing{more}").status == 404


class TestLog:
    def test_the_last_lines_first_and_those_before(self, place: places.Place, ann: Client) -> None:
        run = running.ended(place.store)
        running.said(place.store, run, [f"line {n}." for n in range(250)])
        last = ann.get(f"/runs/{run.id}/log").text
        assert re.findall(r"line (\d+)\.", last) == [str(n) for n in range(50, 250)]
        [before] = re.findall(r'href="([^"]+)" rel="prev"', last)
        assert re.findall(r"line (\d+)\.", ann.get(before).text) == [str(n) for n in range(50)]

    def test_warnings_and_errors_alone(self, place: places.Place, ann: Client) -> None:
        run = running.ended(place.store)
        for number, level in enumerate(("info", "warning", "error")):
            running.said(place.store, run, [f"This is {level}."], first=number, level=level)
        assert "This is info." not in ann.get(f"/runs/{run.id}/log?level=warnings").text
        errors = ann.get(f"/runs/{run.id}/log?level=errors").text
        assert ("This is error." in errors, "This is warning." in errors) == (True, False)
        other = running.ended(place.store)
        assert "No such lines." in ann.get(f"/runs/{other.id}/log?level=errors").text

    def test_all_of_it_as_a_file(self, place: places.Place, ann: Client) -> None:
        run = running.ended(place.store)
        running.said(place.store, run, ["=1+1", "two"])
        rows = list(csv.reader(io.StringIO(ann.get(f"/runs/{run.id}/log?format=csv").text)))
        assert rows[0] == ["at", "level", "stream", "account", "text"]
        assert [row[-1] for row in rows[1:]] == ["'=1+1", "two"]

    def test_a_file_has_the_lines_that_the_page_shows(self, place: places.Place, ann: Client) -> None:
        run = running.ended(place.store)
        for number, level in enumerate(("info", "warning", "error")):
            running.said(place.store, run, [f"This is {level}."], first=number, level=level)
        page = ann.get(f"/runs/{run.id}/log?level=errors").text
        [link] = re.findall(r'href="([^"]+format=csv[^"]*)"', page)
        rows = list(csv.DictReader(io.StringIO(ann.get(html.unescape(link)).text)))
        assert [row["text"] for row in rows] == ["This is error."]


class TestReport:
    def test_page_by_page_with_what_was_looked_for(self, place: places.Place, ann: Client) -> None:
        run = running.ended(place.store)
        names = [f"stream_{n:02}" for n in range(60)]
        running.got(place.store, run, *({"stream": name} for name in names))
        first = ann.get(f"/runs/{run.id}/report").text
        [onward] = re.findall(r'href="([^"]+)" rel="next"', first)
        second = ann.get(onward.replace("&amp;", "&")).text
        assert [name for name in names if name in first] == names[:50]
        assert [name for name in names if name in second] == names[50:]
        assert "12.3 kB" in text(first)
        assert "stream_01" not in ann.get(f"/runs/{run.id}/report?search=stream_59").text
        rows = list(csv.DictReader(io.StringIO(ann.get(f"/runs/{run.id}/report?format=csv").text)))
        assert [row["stream"] for row in rows] == names
        assert rows[0]["bytes"] == "12345"

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("search=arg", ["charges"]),
            ("account=acct_2", ["payouts"]),
            ("wrong=yes", ["payouts"]),
            ("search=z", []),
        ],
    )
    def test_a_file_has_what_was_looked_for(
        self, place: places.Place, ann: Client, query: str, found: list[str]
    ) -> None:
        run = running.ended(place.store)
        failed = {"stream": "payouts", "account": "acct_2", "status": "failed", "error": "It is away."}
        running.got(place.store, run, {"stream": "charges"}, failed)
        text = ann.get(f"/runs/{run.id}/report?format=csv&{query}").text
        assert [row["stream"] for row in csv.DictReader(io.StringIO(text))] == found

    def test_each_kind_has_its_own_figures(self, place: places.Place, ann: Client) -> None:
        pushed, piped = (running.ended(place.store, flow) for flow in ("push:accounts", "pipeline:people"))
        usual = {"stream": "customer", "account": "acct_1", "status": "ok", "error": ""}
        for run, figures in ((pushed, {"source": 5, "created": 4}), (piped, {"read": 9, "filtered": 2})):
            reports.keep(place.store, run.id, [{**usual, **figures}])
        assert "Created" in text(ann.get(f"/runs/{pushed.id}/report").text)
        assert "Filtered" in text(ann.get(f"/runs/{piped.id}/report").text)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (10**9, "1.0 GB"),
        (5 * 10**12, "5.0 TB"),
    ],
)
def test_sizes_as_people_say_them(count: int, said: str) -> None:
    assert run_tables.size(count) == said
