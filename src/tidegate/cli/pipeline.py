"""`tidegate pipeline`: run one, see what it makes of rows, try its cases, look into its quarantine and its past."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from tidegate import config, errors
from tidegate.cli import connect, noting, output, signals, versions

Action = Literal["run", "preview", "test", "failures", "retry", "versions", "restore"]
ONLY = {
    "--full": ("run",),
    "--approve": ("run",),
    "--id": ("preview",),
    "--diff": ("versions",),
    "VERSION": ("restore",),
    "--write": ("restore",),
    "--yes": ("restore",),
}
"""Which actions a flag goes with."""


def pipeline(
    action: Action,
    name: str | None = None,
    version: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    full: bool = False,
    approve: bool = False,
    limit: int = 10,
    id: Annotated[tuple[str, ...] | None, Parameter(negative=())] = None,
    diff: str | None = None,
    write: bool = False,
    yes: bool = False,
    json: bool = False,
) -> int:
    """Run a pipeline, or see what it would make of rows.

    `run` brings what changed into the customer model. `preview` shows what
    becomes of some rows, of the pulled table or else of Stripe, and writes
    nothing; `test` tries the cases of the configuration. `failures` lists rows in
    quarantine, `retry` has them read again by the next run. `versions` lists the
    definitions that it ran with, and `restore` brings one of them back.

    Parameters
    ----------
    action
        What to do.
    name
        A pipeline of the configuration.
    version
        With restore: the number of a version.
    config_file
        The configuration; tidegate.yaml by default.
    full
        With run: read every row again, changed or not.
    approve
        With run: do it though more customers leave than the guard lets go.
    limit
        With preview and failures: how many rows; of Stripe a page of 100 at most.
    id
        With preview: this object; several times for several.
    diff
        With versions: show what changed between two, such as 1..2, or since one, such as 1.
    write
        With restore: write it into the configuration and the function's file.
    yes
        With restore --write: do not ask.
    json
        Print a JSON object, last on stdout.
    """
    given = {
        "--full": full,
        "--approve": approve,
        "--id": id is not None,
        "--diff": diff is not None,
        "VERSION": version is not None,
        "--write": write,
        "--yes": yes,
    }
    file = connect.configuration(config_file)
    name = _named(file, name)
    for flag, is_given in given.items():
        if is_given and action not in ONLY[flag]:
            raise errors.ConfigError(f"{flag} goes with {' and '.join(ONLY[flag])}")
    if limit < 1:
        raise errors.ConfigError("--limit must be 1 or more")
    match action:
        case "run":
            return _run(file, name, config_file, full=full, approve=approve, as_json=json)
        case "preview":
            return _preview(file, name, limit, id or (), json)
        case "test":
            return _test(file, name, json)
        case "failures":
            return _failures(file, name, limit, json)
        case "retry":
            return _retry(file, name, config_file)
        case "versions":
            return versions.listed(file, name, diff, as_json=json)
        case "restore":
            return versions.restore(file, config_file, name, version, write=write, yes=yes, as_json=json)


def _named(file: config.Config, name: str | None) -> str:
    known = ", ".join(file.pipelines)
    if not known:
        raise errors.ConfigError("the configuration has no pipelines; describe one under `pipelines:`")
    if name is None:
        raise errors.ConfigError(f"say which pipeline: {known}")
    if name not in file.pipelines:
        near = difflib.get_close_matches(name, file.pipelines, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {known}."
        raise errors.ConfigError(f"There is no pipeline {name!r} in the configuration; {hint}")
    return name


def _run(
    file: config.Config, name: str, config_file: Path | None, *, full: bool, approve: bool, as_json: bool
) -> int:
    from tidegate.engine import piping, recorder
    from tidegate.engine import place as places

    options = {**({piping.FULL: True} if full else {}), **({piping.APPROVE: True} if approve else {})}

    async def running(place: places.Place) -> tuple[str, piping.Result]:
        begun = await noting.take(place, f"pipeline:{name}", options)

        async def doing(record: recorder.Recorder) -> piping.Result:
            return await piping.perform(place, name, begun, record)

        return begun.id, await noting.performed(place, begun, doing, piping.ended)

    with noting.placed(file, config_file) as place:
        try:
            run_id, result = asyncio.run(signals.until_stopped(running(place)))
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise KeyboardInterrupt(
                "what was committed is safe, and the same command goes on from there"
            ) from None
    told = piping.table(result)
    if as_json:
        head = {"pipeline": name, "run_id": run_id, "status": told["status"]}
        output.print_json(
            {**head, **{key: told[key] for key in told if key not in ("stream", "account", "status")}}
        )
    else:
        _tell(name, result, told)
    return 3 if told["error"] else 0


def _tell(name: str, result: Any, told: dict[str, Any]) -> None:
    if result.held:
        output.say(result.held)
        return
    parts = [
        f"{told[key]:,} {key}"
        for key in ("read", "filtered", "failed", "matched")
        if told[key] or key == "read"
    ]
    customers = [
        f"{told[f'profiles_{what}']:,} {what}"
        for what in ("created", "changed", "gone")
        if told[f"profiles_{what}"]
    ]
    output.say(f"{name}: {', '.join(parts)}; customers: {', '.join(customers) or 'none changed'}.")
    if told["error"]:
        output.say(told["error"])


def _preview(file: config.Config, name: str, limit: int, ids: Sequence[str], as_json: bool) -> int:
    from tidegate.engine import previewing

    found = previewing.preview(file, name, limit=limit, ids=ids)
    funnel = {key: getattr(found, key) for key in ("read", "filtered", "failed", "matched")}
    if as_json:
        output.print_json(
            {
                "pipeline": name,
                "from": found.table or "stripe",
                **funnel,
                "rows": [msgspec.to_builtins(each, enc_hook=str) for each in found.rows],
                "printed": found.printed,
                "suggestions": [msgspec.to_builtins(each) for each in found.suggestions],
            }
        )
        return 0
    if not found.table:
        output.say(f"read from Stripe, since {'they are' if ids else 'that stream is'} in no table yet")
    for row in found.rows:
        output.show(f"{row.id}  {row.outcome}{': ' + row.why if row.why else ''}")
        for key, value in (row.properties or {}).items():
            output.show(f"    {key}: {_shown(value)}")
    if found.printed:
        output.show("printed by the function:")
        output.show(found.printed.rstrip("\n"))
    if found.suggestions:
        likely = ", ".join(f"{each.property}: {each.source}" for each in found.suggestions)
        output.say(f"the model has more properties, which could come from these fields: {likely}")
    output.say(
        f"{name}: {', '.join(f'{count:,} {key}' for key, count in funnel.items())}; nothing was written"
    )
    return 0


def _test(file: config.Config, name: str, as_json: bool) -> int:
    from tidegate.engine import proving

    tried, printed = proving.tried(file, name)
    wrong = [each for each in tried if not each.ok]
    if as_json:
        told = [{"name": each.name, "ok": each.ok, "came": each.came, "why": each.why} for each in tried]
        output.print_json(
            {"pipeline": name, "status": "failed" if wrong else "ok", "cases": told, "printed": printed}
        )
        return 1 if wrong else 0
    for each in tried:
        output.show(
            f"{'ok' if each.ok else 'not ok'}  {each.name}{': ' + each.why if each.why and not each.ok else ''}"
        )
        if not each.ok and each.came is not None:
            for key, value in each.came.items():
                output.show(f"    {key}: {_shown(value)}")
    output.say(
        f"{name} has no cases; write some under `cases:`"
        if not tried
        else f"{name}: {len(tried) - len(wrong)} of {output.counted(len(tried), 'case')} as expected"
    )
    return 1 if wrong else 0


def _failures(file: config.Config, name: str, limit: int, as_json: bool) -> int:
    from tidegate.store import failed

    with contextlib.closing(connect.store(file)) as store:
        found = failed.listed(store, name, limit)
        count = failed.counts(store).get(name, 0)
    if as_json:
        output.print_json(
            {"pipeline": name, "count": count, "failures": [msgspec.to_builtins(each) for each in found]}
        )
        return 0
    for each in found:
        at = f"{dt.datetime.fromtimestamp(each.last_at, dt.UTC):%Y-%m-%d %H:%M}"
        output.show(f"{at}  {each.source_id}  {each.said}")
    more = f"; {count - len(found):,} more, see --limit" if count > len(found) else ""
    output.say(f"{name} has {output.counted(count, 'row')} in quarantine{more}")
    return 0


def _retry(file: config.Config, name: str, config_file: Path | None) -> int:
    from tidegate import views
    from tidegate.views import pipeline_failures

    with noting.placed(file, config_file) as place:
        count = pipeline_failures.retry(place, views.person(), name)
    output.say(f"{output.counted(count, 'row')} of {name} will be read again by its next run")
    return 0


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)
