"""Writes the generated parts of these pages: the tables of configuration.md and the commands of cli.md.

Usage:
    python docs/build.py            write them
    python docs/build.py --check    exit 1 when a page is not what would be written
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tidegate import cli, config

HERE = Path(__file__).parent
PART = re.compile(r"(<!-- (?P<kind>keys|command|commands): (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Write or compare every page that has generated parts."""
    stale = []
    for page in sorted(HERE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        fresh = PART.sub(lambda part: part[1] + KINDS[part["kind"]](part["name"]) + part[4], text)
        if fresh != text:
            stale.append(page.name)
            if "--check" not in sys.argv:
                page.write_text(fresh, encoding="utf-8")
    if stale:
        print(f"docs: {', '.join(stale)} {'is not up to date: ./dev docs' if check() else 'written'}")
    return 1 if stale and check() else 0


def check() -> bool:
    """Only compare?"""
    return "--check" in sys.argv


def keys(name: str) -> str:
    """A table of one model's keys: name, meaning, default."""
    schema = config.json_schema()
    model = schema if name == "Config" else schema["$defs"][name]
    rows = ["| key | what it says | default |", "| --- | --- | --- |"]
    for key, each in model["properties"].items():
        default = "required" if key in model.get("required", ()) else _default(each)
        rows.append(f"| `{key}` | {_cell(each.get('description', ''))} | {default} |")
    return "\n".join(rows) + "\n"


def _default(described: dict[str, Any]) -> str:
    value = described.get("default")
    if value in (None, "", [], {}):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def command(name: str) -> str:
    """What one command's own help says."""
    text = cli.app()[name].generate_docs(usage_name=f"tidegate {name}")
    lines = [line.rstrip() for line in text.splitlines()]
    body = "\n".join(line for line in lines if not line.startswith("#"))
    body = re.sub(r"```console\n.*?\n```\n", "", body, flags=re.DOTALL)
    body = re.sub(r", --no-[a-z-]+`", "`", re.sub(r"\n{3,}", "\n\n", body))
    body = body.replace(" *[default: False]*", "")
    return re.sub(r"\*\[(default|choices): ([^]]+)\]\*", r"(\1: `\2`)", body).strip() + "\n"


def commands(_: str) -> str:
    """The list of commands."""
    rows = [f"| [`{name}`](#{name}) | {summary} |" for name, summary in cli.COMMANDS.items()]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


KINDS: dict[str, Callable[[str], str]] = {"keys": keys, "command": command, "commands": commands}


if __name__ == "__main__":
    sys.exit(main())
