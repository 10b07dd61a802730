"""Writes `catalog.json` from the installed `stripe` package: `python -m tidegate.catalog.build [--check]`.

`writes.json` beside it, what can be written to Stripe, is derived in `build_writes.py`.

Every stream, field, parent, route and event is read off the package's annotations; what it does not tell
stands in `facts.py`. The output is sorted and deterministic, made to be diffed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from tidegate import catalog
from tidegate.catalog import streams

COMMITTED = Path(__file__).with_name("catalog.json")
WIDTH = 150


def main(argv: Sequence[str] | None = None) -> int:
    """Write the catalog, or with `--check` say how the committed one differs; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tidegate.catalog.build", description="Derive the catalog."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file differs")
    parser.add_argument(
        "--file", type=Path, help="only this catalog; by default catalog.json and writes.json"
    )
    arguments = parser.parse_args(argv)
    from tidegate.catalog import build_writes  # which renders its file as this one

    code = _catalog(arguments.file or COMMITTED, check=arguments.check)
    return code if arguments.file else max(code, build_writes.run(check=arguments.check))


def render(derived: catalog.Catalog) -> bytes:
    """The catalog's file."""
    return lines(derived)


def lines(derived: object) -> bytes:
    """JSON to be diffed: what fits a line stands on one, what does not has one element per line."""
    return (_render(msgspec.to_builtins(derived), "") + "\n").encode()


def differences(committed: bytes, derived: catalog.Catalog) -> list[str]:
    """What to know before taking the derived catalog over, one finding per line; empty when equal."""
    if committed == render(derived):
        return []
    try:
        old = msgspec.json.decode(committed, type=catalog.Catalog)
    except msgspec.DecodeError as error:
        return [f"the committed catalog cannot be read: {error}"]
    found = [
        f"{part}: {getattr(old, part)} -> {getattr(derived, part)}"
        for part in ("package", "api_version")
        if getattr(old, part) != getattr(derived, part)
    ]
    for word, before in _parts(old).items():
        found.extend(_compare(word, before, _parts(derived)[word]))
    return found or ["the same content in another form"]


def _catalog(file: Path, *, check: bool) -> int:
    derived = streams.derive()
    if not check:
        file.write_bytes(render(derived))
        print(f"{file}: {len(derived.streams)} streams of stripe {derived.package}")
        return 0
    committed = file.read_bytes() if file.exists() else b""
    found = differences(committed, derived)
    for line in found:
        print(line)
    if found:
        print(f"{file} is not what stripe {derived.package} gives: run `./dev catalog`, review it.")
    return 1 if found else 0


def _render(value: object, indent: str) -> str:
    flat = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if not isinstance(value, dict | tuple) or (len(indent) + len(flat) <= WIDTH and indent):
        return flat
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}:{_render(each, inner)}" for key, each in value.items()]
    else:
        parts = [inner + json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(parts) + f"\n{indent}{closing}"


def _parts(of: catalog.Catalog) -> dict[str, Mapping[str, object]]:
    return {
        "endpoint": {each.path: each for each in of.endpoints},
        "stream": of.streams,
        "event type": dict.fromkeys(of.event_types),
        "stray event": of.strays,
    }


def _compare(word: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield f"{word} {name}: gone"
        elif name not in old:
            yield f"{word} {name}: new"
        elif old[name] != new[name]:
            yield from _compare_members(f"{word} {name}", old[name], new[name])


def _compare_members(where: str, old: object, new: object) -> Iterator[str]:
    if not isinstance(old, msgspec.Struct):
        yield f"{where}: {_short(old)} -> {_short(new)}"
        return
    for part in old.__struct_fields__:
        before, after = getattr(old, part), getattr(new, part)
        if before == after:
            continue
        if part == "fields":
            yield from _compare(f"{where}: field", {f.name: f for f in before}, {f.name: f for f in after})
        else:
            yield f"{where}: {part} {_short(before)} -> {_short(after)}"


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 120 else f"{text[:117]}..."


if __name__ == "__main__":
    sys.exit(main())
