"""The address of a table and what it asks for, the table itself, and its rows as CSV."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
import requested
from hypothesis import given
from hypothesis import strategies as st

from tidegate.web import frame, tables

COLUMNS = [
    tables.Column("flow", "Flow", sort=True),
    tables.Column("rows", "Rows", sort=True, align="right", hint="Rows that were read."),
    tables.Column("note", "Note", wide=True, hide=True),
]


def asked(url: str, default: str = "") -> tables.Asked:
    return tables.asked(
        requested.request(url), filters=("state", "kind"), sorts=("flow", "rows"), default=default
    )


def html(table: tables.Table) -> str:
    return str(frame.parts().table(table))


def test_the_address_says_everything() -> None:
    found = asked("/runs?search=+acme+&state=failed&sort=-rows&after=abc&page=3&tab=log&format=csv")
    assert (found.search, found.sort, found.sorted_by, found.descending) == ("acme", "-rows", "rows", True)
    assert (found.after, found.page, found.format) == ("abc", 3, "csv")
    assert found.filters == {"state": "failed", "kind": ""}
    assert found.kept == {"tab": "log"}
    assert found.narrowed


@pytest.mark.parametrize(
    "query", ["", "sort=evil", "sort=--flow", "page=0", "page=-1", "page=x", "page=99999999", "page=%C2%B2"]
)
def test_what_an_address_should_not_have_is_left_out(query: str) -> None:
    found = asked(f"/runs?{query}", default="-rows")
    assert (found.sort, found.page, found.narrowed) == ("-rows", 1, False)


def test_a_very_long_search_is_cut_off() -> None:
    assert len(asked("/runs?search=" + "a" * 5000).search) == tables.LONGEST


def test_something_else_in_the_address_begins_paging_anew() -> None:
    found = asked("/runs?search=acme&state=failed&after=abc&page=4&tab=log")
    assert found.url() == "/runs?tab=log&state=failed&search=acme"
    assert found.url(after="def") == "/runs?tab=log&state=failed&search=acme&after=def"
    assert found.url(state=None, search="") == "/runs?tab=log"
    assert found.url(page=1, tab="") == "/runs?state=failed&search=acme"


def test_sorting_by_the_same_column_turns_it_round() -> None:
    assert asked("/runs").sorting("flow") == "/runs?sort=flow"
    assert asked("/runs?sort=flow").sorting("flow") == "/runs?sort=-flow"
    assert asked("/runs?sort=-flow").sorting("flow") == "/runs?sort=flow"
    assert asked("/runs?sort=-flow").sorting("rows") == "/runs?sort=rows"


words = st.text(st.characters(exclude_categories=("Cs",)), max_size=30).map(str.strip)


@given(words, words, words, st.sampled_from(["", "flow", "-rows"]), words)
def test_an_address_is_read_as_it_was_written(
    search: str, state: str, tab: str, sort: str, after: str
) -> None:
    wanted = tables.Asked(
        "/runs", search=search, sort=sort, filters={"state": state, "kind": ""}, kept={"tab": tab}
    )
    found = asked(wanted.url(after=after))
    assert (found.search, found.sort, found.after) == (search, sort, after)
    assert found.filters == wanted.filters
    assert found.kept == ({"tab": tab} if tab else {})


def test_rows_lead_to_their_page_and_numbers_stand_to_the_right() -> None:
    shown = html(
        tables.Table(
            "runs",
            COLUMNS,
            [
                tables.Row(
                    {"flow": "pulls.<x>", "rows": 1234, "note": None}, href="/runs/1", kind="bad", id="r1"
                )
            ],
            total=1,
            asked=asked("/runs?sort=-rows"),
            caption="Runs",
        )
    )
    assert '<a class="row-link" href="/runs/1">pulls.&lt;x&gt;</a>' in shown
    assert "hx-boost" not in shown[shown.index("<tbody>") : shown.index("</tbody>")], (
        "a link of a row loads its page"
    )
    assert '<td class="right" data-label="Rows"><span class="num">1,234</span></td>' in shown
    assert '<td class="left narrow-hide wide" data-label="Note"><span class="faint">–</span></td>' in shown
    assert '<tr class="bad" id="r1">' in shown
    assert '<th scope="col" class="right" title="Rows that were read." aria-sort="descending">' in shown
    assert '<caption class="visually-hidden">Runs</caption>' in shown
    assert '<span class="faint num">1 row</span>' in shown


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, '<span class="faint">–</span>'), ("", '<span class="faint">–</span>'),
        (0, '<span class="num zero">0</span>'), (True, "Yes"), (False, "No"),
        (1.5, '<span class="num">1.50</span>'), ("<b>", "&lt;b&gt;"),
    ],
)  # fmt: skip
def test_cells(value: object, wanted: str) -> None:
    assert frame.parts().cell(value) == wanted


def test_cells_take_what_macros_make() -> None:
    assert frame.parts().cell(frame.parts().chip("ok")) == frame.parts().chip("ok")


def test_an_empty_table_names_the_next_step_and_a_narrowed_one_the_way_back() -> None:
    nothing = tables.Empty("No runs yet.", "A run begins when a flow is due.", "Start a flow", "/streams")
    shown = html(tables.Table("runs", COLUMNS, [], asked=asked("/runs"), empty=nothing))
    assert "No runs yet." in shown
    assert '<a class="button main" href="/streams">Start a flow</a>' in shown
    shown = html(tables.Table("runs", COLUMNS, [], asked=asked("/runs?search=zzz"), empty=nothing))
    assert "Nothing matches." in shown
    assert "No runs yet." not in shown
    assert 'href="/runs">Show everything</a>' in shown


def test_pages_go_on_after_a_cursor_or_are_counted() -> None:
    row = [tables.Row({"flow": "x"})]
    assert "Pages of rows" not in html(tables.Table("t", COLUMNS, row, asked=asked("/runs")))
    shown = html(tables.Table("t", COLUMNS, row, next="a b", asked=asked("/runs?state=ok")))
    assert '<a class="button" href="/runs?state=ok&amp;after=a+b" rel="next">Next</a>' in shown
    assert "First page" not in shown
    assert "First page" in html(tables.Table("t", COLUMNS, row, asked=asked("/runs?after=x")))
    shown = html(tables.Table("t", COLUMNS, row, pages=3, asked=asked("/runs?page=2")))
    assert 'href="/runs" rel="prev"' in shown
    assert 'href="/runs?page=3" rel="next"' in shown


def test_the_tools_keep_what_the_address_has() -> None:
    shown = html(
        tables.Table(
            "runs",
            COLUMNS,
            [tables.Row({"flow": "x"})],
            asked=asked("/runs?tab=log&kind=pull&state=ok&sort=flow"),
            filters=[tables.Choice("state", "State", [("ok", "OK"), ("failed", "Failed")])],
        )
    )
    assert '<option value="ok" selected>OK</option>' in shown
    assert '<input type="hidden" name="tab" value="log">' in shown
    assert '<input type="hidden" name="kind" value="pull">' in shown
    assert '<input type="hidden" name="sort" value="flow">' in shown
    assert '<input type="hidden" name="state"' not in shown
    assert 'href="/runs?tab=log&amp;state=ok&amp;kind=pull&amp;sort=flow&amp;format=csv" download' in shown


def read(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], method: str = "GET"
) -> tuple[dict[str, str], list[str]]:
    """The headers of the file, and its parts as they are sent."""
    request = requested.request("/runs?format=csv")
    request.scope["method"] = method
    answer = tables.csv(request, "runs of März", headings, rows)

    async def parts() -> list[str]:
        return [str(each) async for each in answer.body_iterator]

    return dict(answer.headers), asyncio.run(parts())


def test_rows_are_written_as_csv() -> None:
    headers, parts = read(["Flow", "Rows"], [("a,b", 1), ('say "x"', None), ("line\nbreak", True)])
    assert headers["content-type"] == "text/csv; charset=utf-8"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''runs%20of%20M%C3%A4rz.csv"
    assert "".join(parts) == 'Flow,Rows\r\n"a,b",1\r\n"say ""x""",\r\n"line\nbreak",true\r\n'


def test_many_rows_are_sent_while_they_are_read() -> None:
    taken = []

    def rows() -> Iterator[tuple[int, str]]:
        for number in range(20_000):
            taken.append(number)
            yield number, "x" * 50

    _, parts = read(["n", "x"], rows())
    assert len(parts) > 10
    assert max(map(len, parts)) < tables.BATCH + 100
    assert len("".join(parts).splitlines()) == 20_001


def test_only_the_headers_are_asked_for_by_head() -> None:
    assert read(["n"], iter(()), method="HEAD")[1] == []


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff201"]
)
def test_what_a_spreadsheet_would_calculate_stays_text(text: str) -> None:
    assert tables.cell(text) == "'" + text


@given(
    st.lists(st.tuples(st.text(st.characters(exclude_categories=("Cs", "Cc"))), st.integers()), max_size=5)
)
def test_no_text_is_a_formula_in_a_spreadsheet_and_none_is_lost(rows: list[tuple[str, int]]) -> None:
    found = list(csv.reader(io.StringIO("".join(read(["a", "b"], rows)[1]))))[1:]
    assert [int(count) for _, count in found] == [count for _, count in rows]
    for (text, _), (cell, _) in zip(rows, found, strict=True):
        assert not cell.startswith(tables.FORMULA)
        assert cell.removeprefix("'") == text.removeprefix("'")
