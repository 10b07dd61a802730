"""`tidegate pipeline`: run one, see what it makes of rows, try its cases, look into its quarantine and its past."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from tidegate import config, errors
from tidegate.cli import connect, noting, output, signals

Action = Literal["run", "preview", "test", "failures", "retry", "versions"]


def pipeline(
    action: Action,
    name: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    full: bool = False,
    approve: bool = False,
    limit: int = 10,
    diff: str | None = None,
    json: bool = False,
) -> int:
    """Run a pipeline, or see what it would make of rows.

    `run` brings what changed into the customer model. `preview` shows what
    becomes of some rows, and writes nothing; `test` tries the cases of the
    configuration. `failures` lists rows in quarantine, `retry` has them read
    again by the next run. `versions` lists the definitions that it ran with.

    Parameters
    ----------
    action
        What to do.
    name
        A pipeline of the configuration.
    config_file
        The configuration; tidegate.yaml by default.
    full
        With run: read every row again, changed or not.
    approve
        With run: do it though more customers leave than the guard lets go.
    limit
        With preview and failures: how many rows.
    diff
        With versions: show what changed between two, such as 1..2, or since one, such as 1.
    json
        Print a JSON object, last on stdout.
    """
    file = connect.configuration(config_file)
    name = _named(file, name)
    if (full or approve) and action != "run":
        raise errors.ConfigError("--full and --approve go with run")
    if diff is not None and action != "versions":
        raise errors.ConfigError("--diff goes with versions")
    if limit < 1:
        raise errors.ConfigError("--limit must be 1 or more")
    match action:
        case "run":
            return _run(file, name, config_file, full=full, approve=approve, as_json=json)
        case "preview":
            return _preview(file, name, limit, json)
        case "test":
            return _test(file, name, json)
        case "failures":
            return _failures(file, name, limit, json)
        case "retry":
            return _retry(file, name)
        case "versions":
            return _versions(file, name, diff, json)


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


def _preview(file: config.Config, name: str, limit: int, as_json: bool) -> int:
    from tidegate.customers import cases, changes, shaping
    from tidegate.engine import piping
    from tidegate.shape import suggestions

    with piping.opened(file, name) as job, contextlib.ExitStack() as stack:
        of = job.model.profile
        shaper = stack.enter_context(
            shaping.opened(name, job.pipeline, of, job.source.columns, dt.datetime.now(dt.UTC))
        )
        rows = changes.sample(job.source, limit, job.accounts)
        shaped = shaper.shape(rows)
        why = {each.source_id: each.said for each in shaped.failed}
        made = cases.all_of(shaped)
        told = []
        for seen in shaped.seen.to_pylist():
            id = seen["source_id"]
            told.append(
                {"id": id, "outcome": seen["outcome"], "why": why.get(id), "properties": made.get(id)}
            )
        unset = [] if not job.pipeline.map else [each for each in of.names if each not in job.pipeline.map]
        suggested = suggestions.suggest(of, job.source.columns, rows, stream=job.pipeline.stream)
        unmapped = [
            {"property": each.name, "source": each.best.source, "why": each.best.reason, "sure": each.sure}
            for each in suggested
            if each.name in unset and each.best is not None
        ]
    if as_json:
        output.print_json(
            {"pipeline": name, "rows": told, "printed": shaper.printed, "suggestions": unmapped}
        )
        return 0
    for row in told:
        print(f"{row['id']}  {row['outcome']}{': ' + row['why'] if row['why'] else ''}", flush=True)
        for key, value in (row["properties"] or {}).items():
            print(f"    {key}: {_shown(value)}", flush=True)
    if shaper.printed:
        print("printed by the function:", flush=True)
        print(shaper.printed, end="", flush=True)
    if unmapped:
        likely = ", ".join(f"{each['property']}: {each['source']}" for each in unmapped)
        output.say(f"the model has more properties, which could come from these fields: {likely}")
    return 0


def _test(file: config.Config, name: str, as_json: bool) -> int:
    from tidegate import catalog
    from tidegate.customers import cases, shaping
    from tidegate.engine import piping
    from tidegate.rows import decode
    from tidegate.shape import profile

    chosen, of = file.pipelines[name], profile.of(piping.model(file, name))
    stream = decode.schema(catalog.load().streams[chosen.stream])
    with shaping.opened(name, chosen, of, stream, dt.datetime.now(dt.UTC)) as shaper:
        tried = cases.tried(chosen, shaper, stream)
        printed = shaper.printed
    wrong = [each for each in tried if not each.ok]
    if as_json:
        told = [{"name": each.name, "ok": each.ok, "came": each.came, "why": each.why} for each in tried]
        output.print_json(
            {"pipeline": name, "status": "failed" if wrong else "ok", "cases": told, "printed": printed}
        )
        return 1 if wrong else 0
    for each in tried:
        print(
            f"{'ok' if each.ok else 'not ok'}  {each.name}{': ' + each.why if each.why and not each.ok else ''}"
        )
        if not each.ok and each.came is not None:
            for key, value in each.came.items():
                print(f"    {key}: {_shown(value)}")
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
        print(f"{at}  {each.source_id}  {each.said}", flush=True)
    more = f"; {count - len(found):,} more, see --limit" if count > len(found) else ""
    output.say(f"{name} has {output.counted(count, 'row')} in quarantine{more}")
    return 0


def _retry(file: config.Config, name: str) -> int:
    from tidegate.customers import records
    from tidegate.engine import piping
    from tidegate.warehouse import scripts

    with contextlib.closing(connect.store(file)), piping.modelled(file, piping.model(file, name)) as model:
        warehouse = model.warehouse
        if not isinstance(warehouse, scripts.Scripted):
            raise errors.ConfigError(
                f"a warehouse of the type {warehouse.kind} cannot hold the customer model"
            )
        count = warehouse.scripted(lambda script: records.again(script, model.names, name))
    output.say(f"{output.counted(count, 'row')} of {name} will be read again by its next run")
    return 0


def _versions(file: config.Config, name: str, diff: str | None, as_json: bool) -> int:
    from tidegate.store import definitions

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


def _two(text: str, found: dict[int, Any], name: str) -> tuple[int, int]:
    first, _, last = text.partition("..")
    numbers = (first, last or str(max(found, default=0)))
    if not all(each.isdecimal() and int(each) in found for each in numbers):
        known = ", ".join(map(str, sorted(found))) or "none"
        raise errors.ConfigError(f"--diff takes versions of {name}, such as 1..2; there are {known}")
    return int(numbers[0]), int(numbers[1])


def _lines(body: str) -> list[str]:
    return msgspec.json.format(body, indent=2).splitlines()


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)
