"""The definitions that a pipeline ran with: listed, compared, and one of them brought back."""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidegate import config, errors
from tidegate.cli import asking, connect, output
from tidegate.store import definitions

if TYPE_CHECKING:
    from tidegate.engine import restoring


def listed(file: config.Config, name: str, diff: str | None, *, as_json: bool) -> int:
    """All versions of a pipeline, or what changed between two."""
    with contextlib.closing(connect.store(file)) as store:
        found = {each.number: each for each in definitions.listed(store, name)}
    if diff is not None:
        first, last = _two(diff, found, name)
        before, after = (_lines(found[number].body) for number in (first, last))
        for line in difflib.unified_diff(before, after, f"version {first}", f"version {last}", lineterm=""):
            print(line, flush=True)
        return 0
    if as_json:
        output.print_json(
            {"pipeline": name, "versions": [msgspec.to_builtins(each) for each in found.values()]}
        )
        return 0
    for each in found.values():
        print(
            f"{each.number}  {dt.datetime.fromtimestamp(each.first_at, dt.UTC):%Y-%m-%d %H:%M}  {each.digest[:8]}"
        )
    output.say(f"{name} ran with {output.counted(len(found), 'definition')}")
    return 0


def restore(
    file: config.Config,
    config_file: Path | None,
    name: str,
    number: str | None,
    *,
    write: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Print a version as YAML, or write it into the files after showing what changes."""
    from tidegate.engine import restoring

    with contextlib.closing(connect.store(file)) as store:
        version = restoring.chosen(definitions.listed(store, name), name, number)
    path = config_file or Path(config.DEFAULT_FILE)
    found = restoring.restored(file, path, name, version, connect.configuration)
    if not write:
        return _print(found, as_json=as_json)
    if found.blocked:
        raise errors.ConfigError(found.blocked)
    if found.changes and not (yes or sys.stdin.isatty()):
        raise errors.ConfigError(
            "restore asks before it writes, and there is no terminal to ask on; give --yes"
        )
    for line in _diff(found):
        print(output.redacted(line), file=sys.stderr, flush=True)
    names = [each.file.name for each in found.changes]
    if names and not yes:
        question = f"Write this into {' and '.join(names)}?"
        asking.confirm(question, action="restore", undone="nothing was written")
    restoring.write(found)
    if as_json:
        output.print_json({"pipeline": name, "version": found.number, "written": names})
    elif names:
        output.say(f"{name} is version {found.number} again, in {' and '.join(names)}; its next run uses it")
    else:
        output.say(f"{name} is as version {found.number} says already; nothing was written")
    return 0


def _print(found: restoring.Restored, *, as_json: bool) -> int:
    if as_json:
        told = {
            "pipeline": found.pipeline,
            "version": found.number,
            "yaml": found.yaml,
            "function": found.code,
        }
        output.print_json(told)
        return 0
    print("pipelines:")
    for line in found.yaml.splitlines():
        print(f"  {line}".rstrip())
    if found.code:
        print("# its function:")
        for line in found.code.splitlines():
            print(f"#   {line}".rstrip())
    sys.stdout.flush()
    if found.blocked:
        output.say(f"it cannot be written in place: {found.blocked}")
        return 0
    output.say(
        f"`tidegate pipeline restore {found.pipeline} {found.number} --write` writes it into the files"
        if found.changes
        else f"{found.pipeline} is as version {found.number} says already"
    )
    return 0


def _diff(found: restoring.Restored) -> Iterator[str]:
    for each in found.changes:
        yield from each.diff()


def _two(text: str, found: Mapping[int, definitions.Definition], name: str) -> tuple[int, int]:
    first, _, last = text.partition("..")
    numbers = (first, last or str(max(found, default=0)))
    if not all(each.isdecimal() and int(each) in found for each in numbers):
        known = ", ".join(map(str, sorted(found))) or "none"
        raise errors.ConfigError(f"--diff takes versions of {name}, such as 1..2; there are {known}")
    return int(numbers[0]), int(numbers[1])


def _lines(body: str) -> list[str]:
    return msgspec.json.format(body, indent=2).splitlines()
