"""A pull of many accounts in parts: one process begins it and lists the accounts, others each bring some of them.

What they share is the claim of whoever began: a document that any of them may have read from anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from tidegate import errors
from tidegate.pull import abreast, claims, cycle, report, run
from tidegate.stripe import client
from tidegate.warehouse import base


async def paths(whole: run.Pull) -> AsyncIterator[str]:
    """Every account to pull, as the configuration or Stripe names it; the key's own first."""
    if isinstance(whole.source.accounts, tuple):
        for path in whole.source.accounts:
            yield path
        return
    async for account, _ in whole.acting.each():
        yield account


def claim(whole: run.Pull) -> dict[str, Any]:
    """What a pull that has begun has claimed, but for the first account's rows: its part takes them over."""
    assert whole.fence is not None, "The run has begun before."
    account = f"{base.STATE}/{whole.first}"
    tokens = {name: token for name, token in whole.fence.tokens.items() if name != account}
    return {
        "writer": whole.fence.writer,
        "tokens": tokens,
        "lost": dict(whole.lost),
        "own": whole.acting.own,
    }


def join(pull: run.Pull, claimed: Mapping[str, Any]) -> None:
    """Have a part of a run that somebody else began."""
    pull.fence = base.Fence(claimed["writer"], dict(claimed["tokens"]))
    pull.lost, pull.acting.own = dict(claimed["lost"]), claimed["own"]


async def part(pull: run.Pull, attempt: str, chosen: Sequence[str]) -> report.Result:
    """Bring some accounts up to date, by a pull that has joined the run.

    `attempt` is who takes these accounts over now: an earlier attempt at them can commit nothing more.
    """
    assert pull.fence is not None, "The run has begun before."
    pull.doing.begin()
    outcomes, tally = list[report.Outcome](), client.Tally()
    end: errors.TidegateError | None = None
    try:
        chunk = [(path.rpartition("/")[2], await pull.acting.client(path)) for path in chosen]
        mine = [account for account, _ in chunk]
        pull.fence = await asyncio.to_thread(claims.join, pull.warehouse, attempt, pull.fence, mine)
        found, end = await abreast.bring(pull, chunk, tally, cycle.run)
        outcomes = [outcome for outcome in found if outcome.told]
        await pull.note(outcomes, end)
    except errors.TidegateError as error:
        end = error
    tally.add(pull.stripe.tally)
    return pull.result(outcomes, tally, end)
