"""YAML of a configuration: whatever it says is read back as exactly the same."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.config import document, merging, writing

TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            *(
                "",
                "~",
                "null",
                "true",
                "no",
                "off",
                "0o17",
                "017",
                "0x1F",
                "1e3",
                "1_000",
                ".5",
                "+12",
                "-",
                ".inf",
            ),
            *(
                "2020-01-01",
                "02:00",
                "=",
                "<<",
                "*a",
                "&a",
                "!x",
                "# no remark",
                "a: b",
                "- a",
                "${secret:a/b}",
            ),
            *(
                "a\nb",
                "a\n",
                "\na",
                " a\nb",
                "a \nb",
                "a\n\n\nb",
                "def f(x):\n    return x\n",
                "\t",
                "a\u2028b",
                "\x85",
            ),
            *("'", '"', "%", "@x", "`x`", "{a}", "[a]", "a,b", "Zürich", "東京", "😀", "\x00", "a" * 500),
        ]
    ),
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)
BODIES = st.dictionaries(TEXTS, VALUES, max_size=4)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,10}", fullmatch=True)


@st.composite
def parts(draw: st.DrawFn) -> list[merging.Stored]:
    found = draw(st.dictionaries(st.tuples(st.sampled_from(merging.NAMED), NAMES), BODIES, max_size=4))
    single = draw(st.dictionaries(st.sampled_from(merging.SINGLE), BODIES, max_size=2))
    return [
        *(merging.Stored(kind, name, body) for (kind, name), body in found.items()),
        *(merging.Stored(kind, "", body) for kind, body in single.items()),
    ]


@settings(deadline=None)
@given(parts())
def test_whatever_is_written_is_read_back(found: list[merging.Stored]) -> None:
    doc = document.parse(writing.text(found, "A head.\nOf two lines."), "x.yaml", as_written=True)
    assert doc.problems == ()
    order = {kind: n for n, kind in enumerate(merging.KINDS)}
    wanted = sorted(found, key=lambda each: (order[each.kind], each.name))
    assert merging.parts(doc.data) == wanted


@settings(deadline=None)
@given(BODIES)
def test_a_reader_of_yaml_1_1_sees_the_same(body: dict[str, Any]) -> None:
    read = yaml.safe_load(writing.text([merging.Stored("models", "m", body)]))
    assert read == {"models": {"m": body}}


def test_it_is_written_for_people() -> None:
    found = [
        merging.Stored("alerts", "", {"remind": "24h"}),
        merging.Stored("models", "b", {"sql": "select *\nfrom t\nwhere x > 1\n", "key": "id"}),
        merging.Stored("models", "a", {"table": "t", "start": "2020-01-01"}),
        merging.Stored("stripe", "acme", {"api_key": "${secret:stripe/acme/api_key}"}),
    ]
    assert writing.text(found, "What this is.") == (
        "# What this is.\n"
        "\n"
        "stripe:\n"
        "  acme:\n"
        "    api_key: ${secret:stripe/acme/api_key}\n"
        "\n"
        "models:\n"
        "  a:\n"
        "    table: t\n"
        "    start: '2020-01-01'\n"
        "  b:\n"
        "    sql: |\n"
        "      select *\n"
        "      from t\n"
        "      where x > 1\n"
        "    key: id\n"
        "\n"
        "alerts:\n"
        "  remind: 24h\n"
    )


@pytest.mark.parametrize("value", [[], {}, [[]], [{}], {"a": []}])
def test_what_is_empty_stays_so(value: Any) -> None:
    body = {"x": value}
    doc = document.parse(writing.text([merging.Stored("models", "m", body)]), "x", as_written=True)
    assert merging.parts(doc.data) == [merging.Stored("models", "m", body)]


def test_nothing_is_an_empty_file() -> None:
    assert writing.text([]) == ""
