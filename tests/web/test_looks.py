"""What pages show at a glance: figures in rows of the same length, and what waits for a person."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tidegate.views import standing as known
from tidegate.views import summary
from tidegate.web import frame, standings
from tidegate.web import overview as overview_page


def facts(pairs: list[tuple[str, Any]]) -> str:
    return str(frame.parts().facts(pairs))


@pytest.mark.parametrize(("count", "columns"), [(6, ""), (7, "4"), (8, "4"), (10, "5"), (11, "6"), (13, "5")])
def test_facts_stand_in_rows_of_the_same_length(count: int, columns: str) -> None:
    shown = facts([(f"Fact {n}", "so") for n in range(count)])
    assert re.findall(r'data-columns="(\d)"', shown) == ([columns] if columns else [])


def test_a_long_fact_has_the_room_of_two() -> None:
    shown = facts(
        [("Path", "/srv/warehouses/stripe.duckdb"), ("Key", frame.parts().secret("4242")), ("Rows", "1")]
    )
    assert re.findall(r'<div( class="long")?><dt>(\w+)', shown) == [
        (' class="long"', "Path"),
        ("", "Key"),
        ("", "Rows"),
    ]
    eight = facts([("Path", "/srv/warehouses/stripe.duckdb"), *((f"Fact {n}", "so") for n in range(6))])
    assert 'data-columns="4"' in eight, "seven facts, of which one is twice as wide"


def test_nothing_stands_out_less_than_something() -> None:
    cell = frame.parts().cell
    assert 'class="num zero"' in str(cell(0))
    assert 'class="num"' in str(cell(3))


def page(**found: Any) -> str:
    """The overview's content."""
    whole: dict[str, Any] = {
        "sentence": "All 2 flows fresh.", "issues": [], "flows": [], "streams": {}, "warehouses": [],
        "coming": [], "running": [], "budgets": [], **found,
    }  # fmt: skip
    none = SimpleNamespace(rows=[], asked=None)
    asker = SimpleNamespace(may=lambda _: False, name="ann@example.com")
    template = frame.environment().get_template("overview.html")
    context = template.new_context({
        "found": SimpleNamespace(**whole), "asker": asker, "problem": "", "steps": [], "kind": "warn",
        "fresh": none, "flows": none, "budgets": none, "warehouses": none,
        "labels": standings.LABELS, "chip": standings.chip, "leads": overview_page.leads,
    })  # fmt: skip
    return re.sub(r"\s+", " ", "".join(template.blocks["content"](context)))


def test_what_waits_for_a_person_stands_beside_the_sentence() -> None:
    shown = page(issues=[summary.Issue("held:doubled", "rows held: key on several rows", 2, True)])
    health = shown[: shown.index("</section>")]
    assert "All 2 flows fresh." in health
    assert (
        '<a class="button" href="/issues?kind=doubled&amp;state=held"><strong class="num">2</strong> '
        "rows held: key on several rows</a>" in health
    )


def test_without_issues_there_is_nothing_to_press() -> None:
    assert "health-issues" not in page()


def test_the_streams_that_may_be_of_any_age_come_last() -> None:
    assert known.STATES[-2:] == ("fresh", "unbounded")


def test_the_pictures_of_the_readme_are_there_and_small() -> None:
    """The README shows two of them, each for light and for dark."""
    root = Path(__file__).parents[2]
    readme = (root / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"docs/screens/([\w-]+)\.png", readme)
    assert sorted(named) == sorted(
        f"{page}-1280-{scheme}" for page in ("overview", "sync-plan") for scheme in ("light", "dark")
    )
    assert all((root / "docs" / "screens" / f"{each}.png").stat().st_size < 120_000 for each in named)
