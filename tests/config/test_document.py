"""YAML and JSON with positions, and what stands behind `${...}`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import errors
from tidegate.config import document

ENVIRON = {"KEY": "sk_test_1", "EMPTY": "", "ODD": "a: b # c ${KEY}"}


def parse(text: str) -> document.Document:
    return document.parse(text, "t.yaml", environ=ENVIRON)


def refused(text: str) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("007", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("02:00", "02:00"),
        ("1e3", 1000.0),
        ("0.8", 0.8),
        (".5", 0.5),
        ("1.2.3", "1.2.3"),
        ("2020-01-01", "2020-01-01"),
        ("20%", "20%"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("1_000", "1_000"),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = parse(f"a: {text}").data
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_positions_are_those_of_the_keys_and_of_list_elements() -> None:
    doc = parse("a:\n  b: [1,\n    {c: 2}]\n")
    assert doc.where(("a",)) == "t.yaml:1:1"
    assert doc.where(("a", "b")) == "t.yaml:2:3"
    assert doc.where(("a", "b", 1, "c")) == "t.yaml:3:6"


def test_the_position_of_what_is_not_there_is_that_of_what_is_around_it() -> None:
    assert parse("a:\n  b: 1\n").where(("a", "b", "missing", "deeper")) == "t.yaml:2:3"


def test_json_is_read_with_tabs_and_surrogate_pairs_and_slashes() -> None:
    text = '{\n\t"a": "\\ud83d\\ude00 caf\\u00e9 \\/",\n\t"b": [1e2, null, true]\n}'
    doc = parse(text)
    assert doc.data == json.loads(text)
    assert doc.where(("b",)) == "t.yaml:3:2"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abcxyz", min_size=1), json_values, min_size=1, max_size=4))
def test_any_json_object_reads_as_json_reads_it(value: dict[str, object]) -> None:
    text = json.dumps(value).replace("${", "$${")
    assert parse(text).data == json.loads(json.dumps(value))


def test_a_key_that_stands_twice_is_a_problem_with_both_lines() -> None:
    doc = parse("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert doc.data == {"a": {"b": 1, "c": 2}}
    assert doc.problems == ((("a", "b"), "the key stands twice, here and in line 4"),)


def test_anchors_and_merges_work_and_own_keys_win() -> None:
    doc = parse("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n")
    assert doc.data == {"base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 3}}
    assert doc.problems == ()


def test_an_alias_inside_itself_is_refused() -> None:
    assert refused("a: &x [*x]") == "t.yaml:1:4: an alias contains itself"


def test_a_document_that_explodes_by_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    assert "more than 100,000 values" in refused("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:\n\tb: 1", "t.yaml:2:1: a tab stands where YAML wants spaces; indent with spaces"),
        ("a: b: c", "t.yaml:1:5: unexpected ':'; check the indentation, or quote the text"),
        (
            "a: {b: ${KEY}}",
            't.yaml:1:9: the braces do not close here; inside { } quote values such as "${NAME}"',
        ),
        ("a: [1, 2", "brackets do not close"),
        ("a: 'x", "a quote is opened and never closed"),
        ("a: *nope", "this *alias has no &anchor above it"),
        ("a: 1\n---\nb: 2", "a second document starts here"),
        ("a: @x", "quote text that begins with this character"),
        ("? [1, 2]\n: 3", "a key must be a name"),
        ("{a: 1}: 2", "a key must be a name"),
        ("a: 1\nb: \x07", "t.yaml:2: a control character stands in the file"),
        ("[" * 2000, "nested too deeply"),
    ],
)
def test_wrong_syntax_says_where_and_what(text: str, says: str) -> None:
    assert says in refused(text)


def test_a_variable_is_filled_in_and_remembered_as_secret() -> None:
    doc = parse('a: "${KEY}"\nb: pre-${KEY}-post\nc: plain\n')
    assert doc.data == {"a": "sk_test_1", "b": "pre-sk_test_1-post", "c": "plain"}
    assert doc.filled == {("a",), ("b",)}


def test_what_a_variable_holds_is_text_and_never_parsed_again() -> None:
    assert parse('a: "${ODD}"').data == {"a": "a: b # c ${KEY}"}


def test_dollars_can_be_escaped_and_stand_alone() -> None:
    doc = parse("a: $${KEY} costs $5 and $KEY")
    assert doc.data == {"a": "${KEY} costs $5 and $KEY"}
    assert doc.filled == frozenset()


def test_an_empty_variable_is_empty_text() -> None:
    assert parse('a: "${EMPTY}"').data == {"a": ""}


def test_a_variable_that_is_not_set_is_named() -> None:
    doc = parse("a:\n  - x\n  - ${NOPE}\n")
    assert doc.problems == (
        (("a", 1), "the environment variable NOPE is not set; set it, or use ${file:/path}"),
    )


def test_a_file_gives_its_text_without_the_last_line_end(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("line 1\nline 2\n")
    assert parse(f'a: "${{file:{secret}}}"').data == {"a": "line 1\nline 2"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    doc = parse(f'a: "${{file:{tmp_path}/nope}}"')
    assert doc.problems == ((("a",), f"the file {tmp_path}/nope cannot be read: No such file or directory"),)


def test_a_secret_is_asked_of_the_store() -> None:
    store = {"stripe": "rk_live_9"}
    doc = document.parse('a: "${secret:stripe}"\nb: "${secret:nope}"', "t", secret=lambda name: store[name])
    assert doc.data == {"a": "rk_live_9", "b": ""}
    assert doc.problems == ((("b",), "the secret store has no secret named 'nope'"),)


def test_a_secret_without_a_store_is_a_problem() -> None:
    ((place, what),) = parse('a: "${secret:stripe}"').problems
    assert place == ("a",)
    assert "needs the secret store" in what


@pytest.mark.parametrize("name", ["", "1X", "A B", "A:B", "A-B"])
def test_anything_else_in_braces_is_explained(name: str) -> None:
    ((_, what),) = parse(f'a: "${{{name}}}"').problems
    assert "write ${NAME}, ${file:/path} or ${secret:name}" in what


def test_files_that_cannot_be_read_are_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: caf\xe9")
    for path, says in (
        (tmp_path / "nope.yaml", "there is no"),
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "latin", "is not UTF-8 text (byte 6)"),
    ):
        with pytest.raises(errors.ConfigError, match=r".*") as caught:
            document.read(path)
        assert says in str(caught.value)


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa: 1")
    assert document.read(tmp_path / "bom").data == {"a": 1}
