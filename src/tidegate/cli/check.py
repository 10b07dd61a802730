"""`tidegate check`: keys, their permissions, warehouses, models and pushes, before anything is moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidegate import config
from tidegate.cli import connect, output
from tidegate.pull import permissions, settings
from tidegate.stripe import client
from tidegate.views import checks
from tidegate.warehouse import base

if TYPE_CHECKING:
    from tidegate.engine import readiness

URL = "http://127.0.0.1:8484"
"""Where `tidegate run` is by default."""


def check(
    *names: str,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    api_key: str | None = None,
    api_base: str | None = None,
    to: str | None = None,
    streams: str | None = None,
    account_id: str | None = None,
    json: bool = False,
) -> int:
    """Test keys, permissions, warehouses and models beforehand.

    Asks every chosen list for one row, writes a scratch table, asks what columns
    each model has, tries the cases of each pipeline, and asks of a push whose
    account it is, what its key may write, and whether the rows of its model have
    keys; Stripe is written nothing. Of an OpenID provider, whether members could
    sign in by it. With --api-key alone, before anything is configured: whose key
    it is and what it may do. Exit code 3 when something is missing.

    Parameters
    ----------
    names
        Pulls, pipelines, models and pushes of the configuration; all of them by default.
    config_file
        The configuration; tidegate.yaml by default.
    api_key
        Stripe key, instead of a configuration; also read from STRIPE_API_KEY.
    api_base
        Where Stripe answers; another address for the sandbox.
    to
        Warehouse, instead of a configuration: duckdb:///FILE, postgresql://..., md:...
    streams
        Streams to test, comma separated; all by default.
    account_id
        The key's own account, for restricted keys that cannot ask for it.
    json
        Print a JSON object, last on stdout.
    """
    from tidegate.cli import check_pushes

    if to is None and not (names or config_file or streams):
        given = connect.lone_key(api_key)
        if given:
            return _key(given, api_base, account_id, json=json)
    models: dict[str, list[base.Check]] = {}
    pushes: list[readiness.Report] = []
    pipelines: dict[str, list[base.Check]] = {}
    signs_in: list[base.Check] = []
    has_pulls = True
    if to is None and not any((api_key, api_base, streams, account_id)):
        file = connect.configuration(config_file)
        for part in connect.shadowed(config_file):
            output.say(f"{part} in the metadata database does not count: the file has a part of that name")
        others = (*file.models, *file.pushes, *file.pipelines)
        models = checks.models(file, [name for name in names or file.models if name in file.models])
        wanted = [name for name in names or file.pushes if name in file.pushes]
        piped = [name for name in names or file.pipelines if name in file.pipelines]
        pipelines = checks.pipelines(file, piped)
        if not names:
            signs_in = _sign_in(file)
        pulls = [name for name in names if name in file.pulls or name not in others]
        has_pulls = bool(pulls if names else file.pulls or not (others or signs_in))
        if wanted:
            pushes = check_pushes.reports(file, wanted, config_file)
        names = tuple(pulls)
    jobs = []
    if has_pulls:
        jobs = connect.jobs(
            names,
            config_file,
            api_key=api_key,
            to=to,
            api_base=api_base,
            streams=streams,
            account_id=account_id,
        )
    reports = []
    stepped = [*models.values(), *pipelines.values()]
    fine = all(step.ok for steps in (*stepped, signs_in) for step in steps) and all(
        each.ok for each in pushes
    )
    for job in jobs:
        steps, found = checks.pull(job)
        fine = fine and checks.pull_fine(steps, found)
        reports.append(checks.pull_document(job.name, steps, found))
        if not json:
            _show(job, found, steps)
    if json:
        told = [{"model": name, "source": checks.steps_document(steps)} for name, steps in models.items()]
        shaped = [
            {"pipeline": name, "steps": checks.steps_document(steps)} for name, steps in pipelines.items()
        ]
        ready = [checks.push_document(each) for each in pushes]
        parts = {"pulls": reports, "pipelines": shaped, "models": told, "pushes": ready}
        output.print_json({"ok": fine, **parts, "sign_in": checks.steps_document(signs_in)})
    else:
        for name, steps in models.items():
            output.console(markup=True).print(f"[bold]{name}[/bold]: a model")
            _show_steps("source", steps)
        for name, steps in pipelines.items():
            output.console(markup=True).print(f"[bold]{name}[/bold]: a pipeline")
            _show_steps("pipeline", steps)
        for each in pushes:
            check_pushes.show(each)
        if signs_in:
            output.console(markup=True).print("[bold]sign-in[/bold]: an OpenID provider")
            _show_steps("provider", signs_in)
    return 0 if fine else 3


def _sign_in(file: config.Config) -> list[base.Check]:
    """The steps of the OpenID provider, where there is one."""
    if file.server is None or file.server.oidc is None:
        return []
    from tidegate.server import oidc_check

    return oidc_check.steps(file.server.oidc, file.server.public_url or URL)


def _key(api_key: str, api_base: str | None, account_id: str | None, *, json: bool) -> int:
    """What a key may do that nobody has configured yet."""
    from tidegate.cli import check_pushes

    found = checks.key(api_key, api_base, account_id)
    if json:
        output.print_json({"ok": True, "key": checks.key_document(found)})
    else:
        check_pushes.show_key(api_key, found)
    return 0


def _show_steps(kind: str, steps: Sequence[base.Check]) -> None:
    for step in steps:
        output.console(markup=True).print(f"  {_sign(step.ok)} {kind} {step.name}: {_plain(step.detail)}")


def _show(job: settings.Job, found: permissions.Found, steps: list[base.Check]) -> None:
    console = output.console(markup=True)
    key = client.masked(job.source.api_key)
    console.print(f"[bold]{job.name}[/bold]: account {found.account}, {found.mode} mode, key {key}")
    _show_steps("warehouse", steps)
    readable = [one for one in found.access if one.status == "ok"]
    console.print(f"  {_sign(bool(readable))} {len(readable)} of {len(found.access)} streams can be read")
    if found.untold:
        console.print(
            f"  {_sign(False)} events cannot be read: {_plain(found.untold)} Until then changes are only seen by "
            "listing again: edits of rows older than the lookback and the moment of a deletion are lost."
        )
    absent = [one.stream for one in found.access if one.status == "not_enabled"]
    if absent:
        console.print(f"  - {len(absent)} belong to products this account does not have: {', '.join(absent)}")
    wanted: dict[str, list[str]] = {}
    for one in found.access:
        if one.status == "no_permission":
            wanted.setdefault(one.permission, []).append(one.stream)
        elif one.status == "failed":
            console.print(f"  {_sign(False)} {one.stream}: {_plain(one.error)}")
    for permission, streams in sorted(wanted.items()):
        console.print(f"  {_sign(False)} grant {permission} for {', '.join(streams)}")
    if wanted:
        live = "" if found.mode == "live" else "test/"
        console.print(
            f"  Permissions of a restricted key: https://dashboard.stripe.com/{live}apikeys, Edit key, Read."
        )


def _plain(text: str) -> str:
    """Text as rich prints it as it is: of `GRANT SELECT ON [dbo].[items]` it would leave out the names."""
    from rich import markup

    return markup.escape(text)


def _sign(good: bool) -> str:
    return "[green]✓[/green]" if good else "[red]✗[/red]"
