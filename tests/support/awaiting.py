"""Tests that are coroutines."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec

Given = ParamSpec("Given")


def awaited(test: Callable[Given, Coroutine[Any, Any, None]]) -> Callable[Given, None]:
    """Run a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Given.args, **options: Given.kwargs) -> None:
        asyncio.run(test(*args, **options))

    return run
