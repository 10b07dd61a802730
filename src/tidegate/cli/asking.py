"""Whoever sits at the terminal, asked whether something is to be done."""

from __future__ import annotations

import sys

from tidegate import errors


def confirm(question: str, *, action: str, undone: str) -> None:
    """Ask for a yes; `action` is what asks, `undone` the sentence for what was not done.

    Raises ConfigError where nobody sits there, or says anything else, and KeyboardInterrupt on Ctrl-C.
    """
    if not sys.stdin.isatty():
        raise errors.ConfigError(
            f"{action} asks before it acts, and there is no terminal to ask on; give --yes"
        )
    try:
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        typed = sys.stdin.readline()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise KeyboardInterrupt(undone) from None
    if typed.strip().lower() not in ("y", "yes"):
        raise errors.ConfigError(f"not confirmed; {undone}")
