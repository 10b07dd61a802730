"""Writes the generated parts of these pages: tables of configuration.md and push-objects.md, commands of cli.md.

Usage:
    python docs/build.py            write them
    python docs/build.py --check    exit 1 when a page is not what would be written
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tidegate import cli, config
from tidegate.catalog import writes

HERE = Path(__file__).parent
PART = re.compile(
    r"(<!-- (?P<kind>keys|command|commands|fields): (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL
)


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


def fields(name: str) -> str:
    """What is written of one object: its operations, its fields, and what Stripe would take but is not written."""
    of = writes.load()[name]
    done = [f"{action} (`{each.method.upper()} {each.path}`)" for action, each in of.operations.items()]
    said = [f"[Stripe's own page]({of.docs}). {of.note}".strip(), f"Operations: {', '.join(done)}."]
    said += [f"{each.effect} ([source]({each.source}))" for each in of.operations.values() if each.effect]
    said.append(
        f"Found by, best first: {', '.join(f'`{key}`' for key in of.keys)}. Permission: `{of.permission}`."
    )
    rows = ["| field | type | can be cleared | when |", "| --- | --- | --- | --- |"]
    rows += [_field_row(path, each) for path, each in _leaves(of.fields, "") if not each.why_not]
    refused = [f"* `{path}`: {each.why_not}." for path, each in of.fields.items() if each.why_not]
    if refused and len({each.why_not for each in of.fields.values() if each.why_not}) > 1:
        rows += ["", "Not written:", "", *refused]
    rules = [f"* {each.sentence} ([source]({each.source}))" for each in of.rules]
    return "\n".join(["", *_paragraphs(said), *rows, *([""] if rules else []), *rules, ""]) + "\n"


def _leaves(of: Mapping[str, writes.Field], prefix: str) -> Iterator[tuple[str, writes.Field]]:
    """Every field that can be named, those inside elements too; a hash only where it can be cleared as one."""
    for path, each in of.items():
        inner = f"{prefix}{path}{'[]' if each.kind == 'list' else '.KEY'}"
        if each.fields:
            if each.clearable:
                yield f"{prefix}{path}", each
            yield from _leaves(each.fields, f"{inner}.")
        elif each.kind == "map":
            yield inner, each
        elif each.kind != "hash" or each.clearable:
            yield f"{prefix}{path}", each


def _field_row(path: str, each: writes.Field) -> str:
    when = [action for action, allowed in (("create", each.on_create), ("update", each.on_update)) if allowed]
    needed = each.required_on_create or each.required_on_update
    required = ("; required with the rest" if "." in path else "; required") if needed else ""
    only = f"{when[0]} only" if len(when) == 1 else ", ".join(when)
    return f"| `{path}` | {_type(each)} | {'yes' if each.clearable else ''} | {only}{required} |"


def _type(each: writes.Field) -> str:
    kind = KIND_WORDS.get(each.kind, each.kind)
    element = {"enum": "", "string": "text"}.get(each.of or "", "")
    limits = [
        f"up to {each.max_length:,} characters" if each.max_length else "",
        f"up to {each.max_items} elements" if each.max_items else "",
        each.shape,
        "above 0" if each.positive else "",
        f"at least {each.least:g}" if each.least is not None else "",
        f"at most {each.most:g}" if each.most is not None else "",
    ]
    choices = tuple(dict.fromkeys((*each.enum, *each.enum_on_update)))
    listed = ", ".join(f"`{value}`" for value in choices)
    some = f"one of {len(choices)} values" if len(choices) > 8 else listed
    of = f"{kind} of {element}" if element else kind
    return _cell(", ".join(part for part in (of, some, *limits) if part))


KIND_WORDS = {
    "boolean": "true or false",
    "enum": "",
    "hash": "all of it",
    "integer": "whole number",
    "string": "text",
    "timestamp": "time",
}


def _paragraphs(said: Iterable[str]) -> Iterator[str]:
    for each in said:
        yield from (each, "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


KINDS: dict[str, Callable[[str], str]] = {
    "keys": keys,
    "command": command,
    "commands": commands,
    "fields": fields,
}


if __name__ == "__main__":
    sys.exit(main())
