"""Google Sheets: cells as columns, signed requests, and what is said when something is wrong."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
import sheets as fake
from cryptography.hazmat.primitives.asymmetric import rsa

from tidegate import errors, sources
from tidegate.config import warehouses as config
from tidegate.sources import base
from tidegate.sources import sheets as adapter

Opener = Callable[..., adapter.Sheets]

ROWS: list[list[Any]] = [
    ["id", "E-Mail", "plan", "ltv", "active", "since", "seen", "mixed", None],
    ["1", "jenny@example.com", "pro", 10, True, dt.date(2024, 2, 29), dt.datetime(2024, 1, 2, 3, 4, 5), 1],
    ["2", "zoë@example.com", None, 2.5, False, dt.date(2023, 1, 1), None, "two"],
    [],
    ["3"],
]


@pytest.fixture
def google() -> Iterator[fake.Google]:
    with fake.google({"Kunden '24": ROWS, "Empty": [], "Chart": []}) as state:
        yield state


@pytest.fixture
def opened(google: fake.Google) -> Iterator[Opener]:
    """Opens the spreadsheet; waiting takes no time, and is noted in `pauses`."""
    made: list[adapter.Sheets] = []

    def open_it(**changed: Any) -> adapter.Sheets:
        given = {"spreadsheet": google.spreadsheet, "credentials": json.dumps(google.account())} | changed
        target = config.GoogleSheets.model_validate({"endpoint": google.url, **given})
        made.append(adapter.open_source(target, timeout=60, pause=lambda _: None))
        return made[-1]

    yield open_it
    for one in made:
        one.close()


def rows(source: base.Source, sheet: str, cells: str | None = None) -> pa.Table:
    return pa.Table.from_batches(list(source.read(base.Query(sheet=sheet, range=cells))))


def said(source: base.Source, sheet: str, cells: str | None = None) -> str:
    with pytest.raises(errors.TidegateError) as caught:
        rows(source, sheet, cells)
    return str(caught.value)


def test_the_first_row_names_the_columns_and_cells_give_them_their_types(opened: Opener) -> None:
    found = rows(opened(), "Kunden '24")
    assert found.schema == pa.schema(
        {
            "id": pa.string(),
            "E-Mail": pa.string(),
            "plan": pa.string(),
            "ltv": pa.float64(),
            "active": pa.bool_(),
            "since": pa.date32(),
            "seen": pa.timestamp("us"),
            "mixed": pa.string(),
        }
    )
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        (
            "1",
            "jenny@example.com",
            "pro",
            10.0,
            True,
            dt.date(2024, 2, 29),
            dt.datetime(2024, 1, 2, 3, 4, 5),
            "1",
        ),
        ("2", "zoë@example.com", None, 2.5, False, dt.date(2023, 1, 1), None, "two"),
        ("3", None, None, None, None, None, None, None),
    ]


def test_columns_are_those_that_are_read(opened: Opener) -> None:
    source = opened()
    assert source.columns(base.Query(sheet="Kunden '24")) == rows(source, "Kunden '24").schema


def test_a_range_starts_where_it_says(google: fake.Google, opened: Opener) -> None:
    google.sheets["S"] = [["Report"], [], [None, "id", "n"], [None, "a", 1], [None, "b", 2], [None, "c", 3]]
    assert rows(opened(), "S", "B3:C5").to_pylist() == [{"id": "a", "n": 1}, {"id": "b", "n": 2}]


def test_a_range_may_be_written_from_its_end(google: fake.Google, opened: Opener) -> None:
    google.sheets["S"] = [[None, "at", "n"], [None, dt.date(2024, 1, 2), 3]]
    assert rows(opened(), "S", "C2:B1").to_pylist() == [{"at": dt.date(2024, 1, 2), "n": 3}]


def test_dates_are_dates_wherever_they_begin(google: fake.Google, opened: Opener) -> None:
    """Also where nothing but empty cells and other columns' numbers come before."""
    day = dt.date(2024, 2, 29)
    gap: list[list[Any]] = [[n, None, "x"] for n in range(150)]
    google.sheets["S"] = [["n", "day", "late", "text"], *gap, [150, day], [151, day, day], [152, None, day]]
    found = rows(opened(), "S")
    assert found.schema.field("n").type == pa.int64()
    assert found["day"].to_pylist()[149:] == [None, day, day, None]
    assert found["late"].to_pylist()[:2] == ["x", "x"]
    many = [f"c{n}" for n in range(120)]
    google.sheets["S"] = [many, *([None] * n + [day] for n in range(120))]
    assert set(rows(opened(), "S").schema.types) == {pa.date32()}


def test_a_sheet_that_shrinks_while_it_is_read_is_told(google: fake.Google, opened: Opener) -> None:
    google.sheets["S"] = [["n"], *([None] for _ in range(50)), [1]]
    google.shrinks = "S"
    assert said(opened(), "S") == "The sheet S was changed while it was read; run this again."


def test_whole_numbers_are_integers_until_doubles_are_none(google: fake.Google, opened: Opener) -> None:
    google.sheets["S"] = [["a", "b"], [1, 2**53], [3.0, 1e300]]
    assert rows(opened(), "S").schema.types == [pa.int64(), pa.float64()]


def test_no_rows_have_their_columns(google: fake.Google, opened: Opener) -> None:
    google.sheets["S"] = [["a", "b"]]
    found = rows(opened(), "S")
    assert (found.num_rows, found.column_names) == (0, ["a", "b"])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([["a", "a"], [1, 2]], "The row 1 of the sheet S names 2 columns a; give each a name of its own"),
        ([["a", None], [1, 2]], "The column B of the sheet S holds values and has no name"),
        ([[]], "The row 1 of the sheet S is empty"),
        ([["a", "b"], [1, 2], [3, fake.Error("#N/A")]], "The cell B3 of the sheet S shows #N/A"),
    ],
)
def test_sheets_that_are_no_tables_are_refused(
    google: fake.Google, opened: Opener, cells: list[list[Any]], message: str
) -> None:
    google.sheets["S"] = cells
    assert message in said(opened(), "S")


def test_everything_comes_in_one_request(google: fake.Google, opened: Opener) -> None:
    google.sheets["S"] = [["n"], *([n] for n in range(25_000))]
    batches = list(opened().read(base.Query(table="S")))
    assert [batch.num_rows for batch in batches] == [10_000, 10_000, 5_000]
    assert sum("/values/" in path for path in google.asked) == 1


def test_sheets_are_listed_and_charts_are_not(opened: Opener) -> None:
    assert opened().tables() == ["Kunden '24", "Empty"]


def test_a_busy_google_is_asked_again(google: fake.Google, opened: Opener) -> None:
    google.busy = 3
    assert rows(opened(), "Kunden '24").num_rows == 3
    google.busy = 100
    assert "its quota is used up (429)" in said(opened(), "Kunden '24")


def test_check_goes_step_by_step(google: fake.Google, opened: Opener) -> None:
    steps = opened().check()
    assert [(step.name, step.ok) for step in steps] == [
        ("reach", True),
        ("sign in", True),
        ("list", True),
        ("read", True),
    ]
    google.shared_with.clear()
    last = opened().check()[-1]
    assert (last.name, last.ok) == ("list", False)
    assert f"not shared with {google.email}; share it with that address" in last.detail


def test_a_key_of_somebody_else_is_refused(google: fake.Google, opened: Opener) -> None:
    account = google.account()
    google.key = rsa.generate_private_key(65537, 2048)
    source = opened(credentials=json.dumps(account))
    assert "Google refused the key of reader@project" in said(source, "Kunden '24")
    assert [step.name for step in source.check() if not step.ok] == ["sign in"]


def test_nobody_signs_google_in(google: fake.Google, opened: Opener) -> None:
    account = google.account() | {"token_uri": "http://127.0.0.1:1/token"}
    assert "No answer from the address where Google signs" in said(
        opened(credentials=json.dumps(account)), "Kunden '24"
    )


@pytest.mark.parametrize(
    "credentials", ["no json", "[]", "{}", '{"private_key": "geheim", "client_email": "a"}']
)
def test_credentials_that_are_none_are_not_repeated(opened: Opener, credentials: str) -> None:
    with pytest.raises(errors.ConfigError, match="`credentials` of Google Sheets is no") as caught:
        opened(credentials=credentials)
    assert "geheim" not in str(caught.value)


def test_what_is_not_there_is_named(google: fake.Google, opened: Opener) -> None:
    assert "no sheet Nope" in said(opened(), "Nope")
    assert "outside of the sheet Kunden" in said(opened(), "Kunden '24", "A900:B901")
    assert "There is no spreadsheet of this id" in said(opened(spreadsheet="other"), "Kunden '24")
    google.is_enabled = False
    assert "has the Google Sheets API switched off" in said(opened(), "Kunden '24")


def test_a_sheet_is_no_sql(google: fake.Google) -> None:
    target = config.GoogleSheets.model_validate(
        {"spreadsheet": "x", "credentials": json.dumps(google.account()), "endpoint": google.url}
    )
    source = sources.open_source(target)
    with pytest.raises(errors.ConfigError, match="`table` or `sheet`, not with `sql`"):
        source.read("select 1")
    source.close()
