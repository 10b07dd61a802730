"""What is told of an error: of which kind it is, and where it arose, never what it quotes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate import config, errors


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_error_is_found_inside_of_groups() -> None:
    deep = errors.ConfigError("`to` is missing.")
    group = BaseExceptionGroup("tasks", [ValueError(), BaseExceptionGroup("more", [OSError(), deep])])
    assert errors.inside(group, errors.TidegateError) is deep
    assert errors.inside(deep, errors.ConfigError) is deep
    assert errors.inside(deep, errors.StoreError) is None
    assert errors.inside(group, KeyboardInterrupt) is None


def test_its_places_are_those_in_tidegate_the_innermost_first(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        config.load(tmp_path / "tidegate.yaml")
    inner, *_, outer = errors.places(caught.value)
    assert inner.startswith(f"config{os.sep}document.py:")
    assert outer.startswith(f"config{os.sep}__init__.py:")


def test_where_none_is_in_tidegate_all_there_are_are_told() -> None:
    [place] = errors.places(raised(ValueError()))
    assert place.startswith("test_errors.py:")


def test_of_a_group_the_first_error_says_where() -> None:
    first, second = raised(ValueError("ada@example.com")), OSError("ben@example.com")
    assert errors.places(BaseExceptionGroup("tasks", [first, second])) == errors.places(first)
    assert "example.com" not in str(errors.places(first))


def test_what_was_never_raised_has_no_place() -> None:
    assert errors.places(ValueError()) == []
