"""The file and what the metadata database keeps as one configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidegate import config, errors
from tidegate.config import document, merging

FILE = """\
stripe:
  acme: {api_key: sk_test_1}
warehouses:
  one: {type: duckdb, path: one.duckdb}
pulls:
  everything: {from: acme, to: one}
"""


def stored(kind: str, name: str, **body: Any) -> merging.Stored:
    return merging.Stored(kind, name, {key.rstrip("_"): value for key, value in body.items()})


MORE = stored("pulls", "more", from_="acme", to="one")


def load(tmp_path: Path, *more: merging.Stored, text: str = FILE, **given: Any) -> config.Config:
    file = tmp_path / "tidegate.yaml"
    file.write_text(text)
    return config.load(file, stored=more, **given)


def wrong(tmp_path: Path, *more: merging.Stored, **given: Any) -> list[str]:
    with pytest.raises(errors.ConfigError) as caught:
        load(tmp_path, *more, **given)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_names_of_both_refer_to_each_other(tmp_path: Path) -> None:
    found = load(tmp_path, stored("stripe", "other", api_key="sk_test_2"), MORE)
    assert list(found.stripe) == ["acme", "other"]
    assert list(found.pulls) == ["everything", "more"]


def test_a_file_of_the_database_alone_is_enough(tmp_path: Path) -> None:
    found = load(tmp_path, text="database: sqlite:///x.db\n")
    assert found.pulls == {}
    assert found.database.get_secret_value() == f"sqlite:///{tmp_path}/x.db"


def test_no_file_is_enough_where_there_may_be_none(tmp_path: Path) -> None:
    found = config.load(tmp_path / "tidegate.yaml", missing=True)
    assert found.database.get_secret_value() == f"sqlite:///{tmp_path}/tidegate.db"
    with pytest.raises(errors.ConfigError, match="there is no "):
        config.load(tmp_path / "tidegate.yaml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_is_a_mistake_unless_something_is_kept_elsewhere(tmp_path: Path, text: str) -> None:
    assert wrong(tmp_path, text=text) == [
        "tidegate.yaml is empty; `tidegate init --force` writes one to start from"
    ]
    assert list(
        load(tmp_path, stored("warehouses", "two", path="x", type="duckdb"), text=text).warehouses
    ) == ["two"]


def test_a_problem_says_in_which_of_both_it_is(tmp_path: Path) -> None:
    text = FILE + "  bad: {from: acme, to: nowhere, lookback: 7 moons}\n"
    also = stored("pulls", "more", from_="acme", to="on", streams={"charges": {"exclude": ["nope"]}})
    assert wrong(tmp_path, also, stored("alerts", "", remind="soon"), text=text) == [
        "tidegate.yaml:7:21: pulls.bad.to: `warehouses` has no such name; it has one",
        "tidegate.yaml:7:34: pulls.bad.lookback: write a number and a unit: 30s, 15m, 6h, 7d or 2w",
        "alerts in the metadata database: remind: write how soon to tell again: 24h, 7d, or never",
        "pulls.more in the metadata database: to: `warehouses` has no such name; did you mean 'one'?",
        "pulls.more in the metadata database: streams.charges.exclude[0]: the stream has no such column; "
        "`tidegate schema charges` lists them",
    ]


def test_of_one_name_in_both_the_files_counts(tmp_path: Path) -> None:
    found = load(tmp_path, stored("pulls", "everything", from_="nobody", to="nowhere"))
    assert found.pulls["everything"].connection == "acme"
    doc = merging.read(tmp_path / "tidegate.yaml")
    assert merging.has(doc, "pulls", "everything")
    assert not merging.has(doc, "pulls", "more")
    assert not merging.has(merging.merged(doc, [MORE]), "pulls", "more")


@pytest.mark.parametrize("text", ["pulls:\n", "pulls: {}\n", "alerts:\npulls: ~\n"])
def test_a_section_that_is_empty_in_the_file_hides_nothing(tmp_path: Path, text: str) -> None:
    rest = FILE.partition("pulls:")[0]
    found = load(tmp_path, MORE, stored("alerts", "", remind="7d"), text=rest + text)
    assert list(found.pulls) == ["more"]
    assert found.alerts is not None


def test_a_section_that_is_no_mapping_is_the_files_problem(tmp_path: Path) -> None:
    rest = FILE.partition("pulls:")[0]
    assert wrong(tmp_path, MORE, text=rest + "pulls: [a]\n") == [
        "tidegate.yaml:5:1: pulls: must be a mapping (`key: value`), not a list"
    ]


class TestReferences:
    def test_they_are_filled_in_as_in_the_file(self, tmp_path: Path) -> None:
        found = load(
            tmp_path,
            stored("stripe", "other", api_key="${secret:other}", api_base="https://${HOST}"),
            environ={"HOST": "stripe.example"},
            secret={"other": "sk_test_9"}.__getitem__,
        )
        key = found.stripe["other"].api_key
        assert key is not None
        assert key.get_secret_value() == "sk_test_9"
        assert found.stripe["other"].api_base == "https://stripe.example"

    def test_one_that_cannot_be_had_is_a_problem_of_its_part(self, tmp_path: Path) -> None:
        assert wrong(tmp_path, stored("stripe", "other", api_key="${NOBODY}"), environ={}) == [
            "stripe.other in the metadata database: api_key: the environment variable NOBODY is not set; set it, "
            "or use ${file:/path}"
        ]

    def test_what_came_through_one_is_not_repeated(self, tmp_path: Path) -> None:
        [line] = wrong(
            tmp_path,
            stored("pulls", "more", from_="acme", to="one", schedule="${SCHEDULE}"),
            environ={"SCHEDULE": "continuos"},
        )
        assert "continuous" in line
        assert "continuos" not in line.replace("continuous", "")

    def test_a_file_is_read_as_it_is_written(self, tmp_path: Path) -> None:
        file = tmp_path / "x.yaml"
        file.write_text("stripe: {acme: {api_key: '${NOBODY}', note: '$${x}'}}\n")
        doc = merging.read(file, as_written=True)
        assert doc.problems == ()
        [part] = merging.parts(doc.data)
        assert part.body == {"api_key": "${NOBODY}", "note": "$${x}"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("${A}", ["A"]),
        ("a ${A} ${B}", ["A", "B"]),
        ("$${A}", []),
        ("$$${A}", []),
        ("$${A}${B}", ["B"]),
        ("${", []),
    ],
)
def test_the_references_of_a_text(text: str, names: list[str]) -> None:
    assert document.references(text) == names


def test_values_without_end_are_refused(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"x": deep}
    with pytest.raises(errors.ConfigError, match="nested too deeply"):
        load(tmp_path, merging.Stored("pulls", "deep", deep))
