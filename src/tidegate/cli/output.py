"""What commands print with: results to stdout, words to stderr, never a key.

rich is imported when a table is drawn, so that `tidegate --help` stays quick. It obeys NO_COLOR and COLUMNS
by itself, and draws with ASCII on a terminal that is not UTF-8.
"""

from __future__ import annotations

import difflib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDE = 400
"""Columns where nobody looks: in a pipe a table is never cut."""

_STEERING = {
    code: rf"\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
} | {code: rf"\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Control characters, and those that turn the direction of what follows."""

_SECRETS = re.compile(
    r"\b(?P<key>(?:sk|rk|pk|ek)_(?:live|test)_|whsec_|sk_org_\w*?_|tg_(?=[\w-]{43}\b))[A-Za-z0-9_-]+"
    r"|(?P<login>://[^\s:/@]*:)[^\s/@]+@"
)


def redacted(text: str) -> str:
    """The text without Stripe keys, signing secrets and passwords in URLs."""
    return _SECRETS.sub(lambda match: f"{match['key']}…" if match["key"] else f"{match['login']}…@", text)


def visible(text: str) -> str:
    """The text with what would steer a terminal spelled out: a customer's name may hold escape sequences."""
    return text.translate(_STEERING)


def say(text: str) -> None:
    """A sentence, or one sentence per line, to the person."""
    lines = [f"tidegate: {visible(line)}" for line in redacted(text).splitlines() or [""]]
    print("\n".join(lines), file=sys.stderr, flush=True)


def trace(error: BaseException) -> None:
    """The whole traceback, for whoever asked for it."""
    print(redacted("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def show(*lines: str) -> None:
    """Lines on stdout that may hold values of records."""
    print(*map(visible, lines), sep="\n", flush=True)


def print_json(value: object, *, pretty: bool = False) -> None:
    """One JSON value on stdout: on one line, or indented for reading; ASCII, for any terminal."""
    print(json.dumps(value, indent=2 if pretty else None, ensure_ascii=True, default=str), flush=True)


def console(*, stderr: bool = False, markup: bool = False) -> Console:
    """A rich console; wide where the output is no terminal and COLUMNS is not set.

    Values are shown as they are: `:smile:` is text, `[red]` too unless `markup` is asked for, and what would steer
    the terminal is spelled out.
    """
    from rich.console import Console

    class Plain(Console):
        """Tells of a reader that went away by BrokenPipeError, as print does; rich would end the process."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(visible(text), **how)

    stream = sys.stderr if stderr else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    width = WIDE if wide else None
    return Plain(stderr=stderr, width=width, highlight=False, soft_wrap=False, markup=markup, emoji=False)


def table(*headings: str, title: str = "", whole: int = 0) -> Table:
    """An empty table; where the terminal is narrow, its cells fold, but for those of the first `whole` columns."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left")
    for at, heading in enumerate(headings):
        made.add_column(heading, overflow="fold", no_wrap=at < whole)
    return made


def fits(table: Table, out: Console) -> bool:
    """Whether the table can be drawn without cutting or folding a cell."""
    return out.measure(table, options=out.options.update(width=10_000)).maximum <= out.width


def draw(out: Console, drawn: Callable[[bool], Table], wrong: Mapping[str, str]) -> None:
    """A table with its errors where that fits; else the table without them, and under it who ended with which."""
    whole = drawn(True)
    if fits(whole, out):
        out.print(whole)
        return
    out.print(drawn(False))
    for line in told_together(wrong):
        out.print(line, soft_wrap=True)


def told_together(errors: Mapping[str, str], *, named: int = 5) -> list[str]:
    """One line for each error that streams ended with, and whose it is: `cards, plans: no permission`."""
    whose: dict[str, list[str]] = {}
    for stream, error in errors.items():
        whose.setdefault(error, []).append(stream)
    lines = []
    for error, streams in whose.items():
        shown = streams if len(streams) <= named + 1 else streams[:named]
        more = len(streams) - len(shown)
        lines.append(f"{', '.join(shown)}{f' and {more:,} more' if more else ''}: {error}")
    return lines


def counted(number: int, thing: str) -> str:
    """`1 request`, `2,721 requests`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def survive_encoding() -> None:
    """Let a terminal that lacks a character show `?` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'pull'?`, or nothing when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
