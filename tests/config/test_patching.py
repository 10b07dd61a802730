"""A mapping of a configuration changed in place: what was asked for is there, and all else is as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import errors
from tidegate.config import document, patching

FILE = """# head
stripe: {acme: {api_key: "${KEY}"}}   # tail
pipelines:
  # about a
  a:
    from: acme   # who
    to: w
    filter:   # which
      # inner
      all:
        - {field: x, op: is, value: 1}   # last

    # about map
    map: {name: name}   # short
    description: >
      some words
      # no comment

  "b": {from: acme, to: w, map: {a: b}, cases: []}
  # end
pulls: {}
"""


def read(text: str) -> Any:
    doc = document.parse(text, "x", environ={"KEY": "k"})
    assert doc.problems == ()
    return doc.data


def test_keys_are_replaced_taken_out_and_added_where_they_stand() -> None:
    values = {
        "filter": {"field": "id", "op": "exists"},
        "map": None,
        "stream": "charges",
        "cases": [{"name": "n"}],
    }
    assert patching.replaced(FILE, ["pipelines", "a"], values) == FILE.replace(
        """      all:
        - {field: x, op: is, value: 1}   # last
""",
        """      field: id
      op: exists
""",
    ).replace("    map: {name: name}   # short\n", "").replace(
        """      # no comment
""",
        """      # no comment
    stream: charges
    cases:
      - name: n
""",
    )


def test_a_value_in_one_line_keeps_the_comment_beside_it() -> None:
    changed = patching.replaced(
        FILE, ["pipelines", "a"], {"map": {"name": {"sql": "trim(name)"}}, "to": "other"}
    )
    assert "    to: other\n" in changed
    assert "    map:   # short\n      name:\n        sql: trim(name)\n    description:" in changed


def test_a_mapping_in_braces_stays_in_braces() -> None:
    changed = patching.replaced(
        FILE, ["pipelines", "b"], {"map": None, "cases": None, "filter": {"field": "id", "op": "exists"}}
    )
    assert '  "b": {from: acme, to: w, "filter": {"field": "id", "op": "exists"}}\n' in changed
    assert patching.replaced('{"a": {"b": 1}}', ["a"], {"b": None, "c": [1]}) == '{"a": {"c": [1]}}'


def test_the_lines_of_a_file_end_as_they_did() -> None:
    changed = patching.replaced(FILE.replace("\n", "\r\n"), ["pipelines", "a"], {"map": {"a": {"sql": "1"}}})
    assert changed.count("\n") == changed.count("\r\n")
    assert read(changed) == {
        **read(FILE),
        "pipelines": {**read(FILE)["pipelines"], "a": read(changed)["pipelines"]["a"]},
    }


def test_a_block_is_told_as_it_is_written_without_its_indentation() -> None:
    assert patching.told(FILE, ["pipelines", "b"]) == '"b": {from: acme, to: w, map: {a: b}, cases: []}\n'
    told = patching.told(FILE, ["pipelines", "a"])
    assert told.startswith("a:\n  from: acme   # who\n  to: w\n")
    assert told.endswith("    # no comment\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {b: &x [1], c: *x}", "a.c in line 1 is an alias of what stands elsewhere"),
        ("d: &m {c: 1}\na: *m", "a is not written out in the file"),
        ("d: {c: 1}", "a is not written out in the file"),
        ("a: [1]", "a is no mapping"),
    ],
)
def test_what_is_not_written_there_is_not_replaced(text: str, said: str) -> None:
    with pytest.raises(errors.ConfigError) as error:
        patching.replaced(text, ["a"], {"c": 2})
    assert str(error.value).startswith(said)


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20),
    st.sampled_from(
        ["yes", "0o17", "1e5", "-.5", "2026-01-01", "${KEY}", "a: b", "# no", "a\nb\n", "<<", "", " x "]
    ),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS.filter(lambda key: "${" not in key), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["from", "filter", "map", "cases", "stream"]), st.none() | VALUES))
def test_whatever_is_written_is_read_again_and_nothing_else_changed(values: dict[str, Any]) -> None:
    for name in ("a", "b"):
        changed = patching.replaced(FILE, ["pipelines", name], values)
        expected = read(FILE)
        own = {**expected["pipelines"][name], **values}
        expected["pipelines"][name] = {key: each for key, each in own.items() if each is not None}
        assert read(changed) == expected
        assert changed.startswith(FILE.partition("  a:")[0])
        assert changed.endswith("  # end\npulls: {}\n")


@given(VALUES)
def test_what_is_dumped_is_read_as_it_was(value: Any) -> None:
    assert read(f"k: {json.dumps(1)}\n" + patching.dumped({"v": value})) == {"k": 1, "v": value}
    assert isinstance(yaml.compose(patching.dumped({"v": value})), yaml.MappingNode)
