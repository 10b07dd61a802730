"""`tidegate push`: plan, ask, and write a model's rows into Stripe, each once."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import output, pushing, rehearsing, verifying
from tidegate.engine import pushes
from tidegate.push import plan as plans
from tidegate.views import push_plans, push_words


def push(
    push: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    plan: Path | None = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    approve: bool = False,
    limit: int | None = None,
    verify: bool = False,
    repair: bool = False,
    rehearse: bool = False,
    connection: str | None = None,
    sandbox: bool = False,
    out: Path | None = None,
    json: bool = False,
) -> int:
    """Write a model's rows into Stripe: plan, ask, do it once.

    Killed anywhere, the next run finds out what was done and does the rest;
    nothing is created twice.

    Parameters
    ----------
    push
        A push of the configuration.
    config_file
        The configuration; tidegate.yaml by default.
    plan
        Do exactly what `tidegate plan --out FILE` has written
        down, and do not ask. Rows that changed since are left.
    yes
        Do not ask.
    approve
        Do it though a guard says that a person should look first.
    limit
        Write so many rows at most; 1 tries it out.
    verify
        Write nothing: tell what somebody else has changed at
        Stripe of the rows that were written. The exit code is
        3 where something has.
    repair
        Write that as well, as the model says.
    rehearse
        Do all of it in a sandbox that begins as the account
        is, and tell what would have been refused. Nothing of
        the push itself is touched.
    connection
        With --rehearse: over this connection, which has a test key.
    sandbox
        With --rehearse: in the sandbox, which is what it does by itself.
    out
        With --verify: a .csv or .jsonl file for all that has changed.
    json
        Print a JSON object, last on stdout.
    """
    if limit is not None and limit < 1:
        raise errors.ConfigError("--limit is how many rows are written at most; give 1 or more")
    push = pushing.named(push, config_file)
    _agree(verify, repair, rehearse, plan is not None, connection is not None, sandbox, out is not None)
    if verify and not repair:
        return verifying.verify(push, config_file, out=out, as_json=json)
    if rehearse:
        return rehearsing.rehearse(
            push, config_file, connection=connection, limit=limit, yes=yes, as_json=json
        )
    approved = None if plan is None else push_plans.read(plan, push)
    if approved is None and not yes and not sys.stdin.isatty():
        raise errors.ConfigError(
            f"nobody can be asked here; give --yes, or --plan FILE from `tidegate plan {push} --out FILE`"
        )

    def seen(found: plans.Plan, rows: pushes.Rows) -> bool | Awaitable[bool]:
        if not json:
            pushing.show(found, rows, approved=approve)
            output.say(push_words.effort(found, limit))
        writes = found.counts.created + found.counts.updated + found.counts.removed
        if yes or approved is not None or not writes or (found.guards and not approve):
            return True
        return pushing.asked("Write this to Stripe? [y/N] ")

    wish = pushes.Wish(write=True, approve=approve, approved=approved, limit=limit, repair=repair)
    try:
        result = pushing.perform(push, config_file, wish, seen)
    except errors.StoreConflict as error:
        output.say(str(error))
        return pushing.BUSY
    if json:
        output.print_json(result.document())
    else:
        _tell(push, result, wish)
    return {"ok": 0, "partial": 3, "failed": 1, "held": 3}[result.status]


def _agree(
    verify: bool, repair: bool, rehearse: bool, plan: bool, connection: bool, sandbox: bool, out: bool
) -> None:
    """Raises ConfigError for flags that do not go together."""
    if (connection or sandbox) and not rehearse:
        raise errors.ConfigError("--connection and --sandbox say where to rehearse; give --rehearse, too")
    if connection and sandbox:
        raise errors.ConfigError("--connection and --sandbox exclude each other; give one of them")
    if rehearse and (verify or repair or plan):
        raise errors.ConfigError("--rehearse plans by itself; leave --verify, --repair and --plan out")
    if verify and plan:
        raise errors.ConfigError("--verify writes nothing; leave --plan out")
    if out and (not verify or repair):
        raise errors.ConfigError("--out goes with --verify; `tidegate plan --out FILE` writes a plan down")


def _tell(name: str, result: pushes.Result, wish: pushes.Wish) -> None:
    for sentence, times in sorted(result.why.items(), key=lambda pair: -pair[1])[:10]:
        output.say(sentence if times == 1 else f"{sentence} ({times:,} rows)")
    if result.error:
        output.say(result.error)
    if result.status == "held":
        output.say(pushing.unwritten(result.made, wish.approve))
        return
    figures = push_words.figures(result, left="left by --limit" if _limited(result, wish) else "left")
    output.say(f"{name}: {push_words.summed(figures, result.requests)}.")
    if waiting := sum(figures[what] for what in pushing.WAITING):
        output.say(f"`tidegate inbox {name}` lists {'it' if waiting == 1 else 'them'}.")
    if figures["unknown"]:
        output.say(
            "A run of this push five minutes from now finds out what is unknown; what it cannot find out "
            f"is then in `tidegate inbox {name}`."
        )


def _limited(result: pushes.Result, wish: pushes.Wish) -> bool:
    """Whether nothing but --limit is why rows are left."""
    return wish.limit is not None and not result.error and pushes.CHANGED not in result.why
