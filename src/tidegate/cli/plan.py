"""`tidegate plan`: what a push would write, and why not the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate.cli import output, pushing
from tidegate.engine import pushes
from tidegate.push import plan as plans
from tidegate.views import push_plans, push_words


def plan(
    push: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    out: Path | None = None,
    all: bool = False,
    repair: bool = False,
    json: bool = False,
) -> int:
    """Show what a push would write to Stripe, and write nothing.

    Every row is counted once: what is created, what changes from what to what,
    what is held and why, what is invalid. `tidegate push` does it.

    Parameters
    ----------
    push
        A push of the configuration.
    config_file
        The configuration; tidegate.yaml by default.
    out
        A file for the whole plan; `tidegate push --plan` does exactly that.
    all
        Show every row, not the first of each kind.
    repair
        Plan also what brings back what somebody else has
        changed at Stripe since; then
        `tidegate push --repair --plan` does it.
    json
        Print a JSON object, last on stdout.
    """
    push = pushing.named(push, config_file)
    told: list[plans.Plan] = []

    def seen(found: plans.Plan, rows: pushes.Rows) -> bool:
        told.append(found)
        if out is not None:
            push_plans.save(out, found, rows)
        if not json:
            pushing.show(found, rows, everything=all)
        return True

    result = pushing.perform(push, config_file, pushes.Wish(repair=repair), seen)
    if json:
        output.print_json(result.document())
    else:
        output.say(f"{push_words.effort(told[0])} Nothing was written.")
    if result.undecided:
        output.say(
            f"{result.undecided:,} operations of earlier runs are undecided; `tidegate push {push}` goes on"
        )
    return 0
