"""A local Stripe in a process of its own, and a pull of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pulling import Stripe, pull

from tidegate import sandbox
from tidegate.pull import report

Start = Callable[..., Stripe]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a sandbox with options; it ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: Stripe(stack.enter_context(sandbox.process(**options)))


@pytest.fixture(scope="session")
def business() -> Iterator[Stripe]:
    """A small business that tests only read."""
    with sandbox.process(objects=6_000) as url:
        yield Stripe(url)


@pytest.fixture(scope="session")
def pulled(business: Stripe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, report.Result]:
    """The small business, pulled once without any trouble."""
    file = tmp_path_factory.mktemp("pulled") / "whole.duckdb"
    return file, pull(business, file)
