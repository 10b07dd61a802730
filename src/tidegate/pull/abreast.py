"""Some accounts of a pull side by side, through one loader: what is known of each, what is wanted, how it fared."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tidegate import errors
from tidegate.privacy import erase, forget
from tidegate.pull import accounts, cycle, load, reading, report, scope
from tidegate.stripe import client

if TYPE_CHECKING:
    from tidegate.pull import run

ABREAST = 16
"""Connected accounts that are read side by side; each has a budget of its own."""

Work = Callable[[reading.Reading, cycle.Wishes, dict[str, str]], Awaitable[int]]
"""What is done for one account; says how many changes it found."""


async def bring(
    pull: run.Pull, chosen: Sequence[tuple[str, client.Client]], tally: client.Tally, work: Work
) -> tuple[list[report.Outcome], errors.TidegateError | None]:
    """Some accounts side by side, through one loader; returns their outcomes and what ends everything.

    `tally` counts the requests of all but the key's own account.
    """
    assert pull.fence is not None, "The tables were claimed before."
    saved, scrubbers = await _state(pull, [account for account, _ in chosen])
    loader = load.Loader(pull.warehouse, pull.fence, scrubbers)
    if pull.acting.found:
        loader.add([], state=pull.acting.found)
        pull.acting.found = {}
    gate = asyncio.Semaphore(ABREAST)
    outcomes: dict[str, list[report.Outcome]] = {}
    ends: list[errors.TidegateError] = []

    async def one(account: str, stripe: client.Client) -> None:
        async with gate:
            wishes, refreshing = _wishes(pull, account), cycle.refreshing(saved[account], account)
            targets = {name: scope.of(account, each) for name, each in pull.streams.items()}
            mine = outcomes[account] = [each.outcome for each in targets.values()]
            if ends:
                _abandon(mine, ends[0])
                return
            pull.doing.add(mine)
            sent = dataclasses.replace(stripe.tally)
            try:
                await work(_reading(pull, account, stripe, targets, loader), wishes, saved[account])
                pull.refreshed.add(account)
            except errors.TidegateError as error:
                if cycle.refreshing(saved[account], account) - refreshing:
                    pull.refreshed.add(account)  # it is noted, and goes on in the next pull
                _abandon(mine, error)
                if not _is_disconnected(error) or stripe is pull.stripe:
                    ends.append(error)
            finally:
                if stripe is not pull.stripe:
                    tally.add(stripe.tally)
                    tally.add(sent, -1)  # a client that is kept has been asked before

    try:
        async with asyncio.TaskGroup() as group:
            for account, stripe in chosen:
                group.create_task(one(account, stripe))
    finally:
        try:
            await loader.finish()
        except errors.TidegateError as error:
            ends.append(error)
        for each in pull.streams.values():
            for note in each.shape.derived.notes():
                pull.screen.note(note)
    if not ends:
        await asyncio.to_thread(_scrub, pull, scrubbers, saved)
    is_whole = work is not cycle.run and not ends and not scrubbers and len(saved) <= ABREAST
    pull.known = saved if is_whole else {}
    for found in outcomes.values():
        for outcome in found:
            outcome.done = True
    return [each for found in outcomes.values() for each in found], ends[0] if ends else None


async def _state(
    pull: run.Pull, chosen: Sequence[str]
) -> tuple[dict[str, dict[str, str]], dict[str, forget.Scrubber]]:
    """What is stored of some accounts, and what is to be forgotten there.

    What a hearing left is known: nobody else writes it while this pull's claim holds, which each commit checks.
    """
    if pull.known.keys() == set(chosen):
        return pull.known, {}
    prefixes = dict.fromkeys(
        prefix
        for each in chosen
        for prefix in (*cycle.prefixes(each), *forget.prefixes(each), f"{forget.UNCLEAN}{each}")
    )
    state = await asyncio.to_thread(pull.warehouse.state, *prefixes)
    forgetful = {each: forget.scrubber(state, each) for each in chosen}
    scrubbers = {each: scrubber for each, scrubber in forgetful.items() if scrubber is not None}
    return accounts.by_account(state, set(chosen)), scrubbers


def _scrub(
    pull: run.Pull, scrubbers: Mapping[str, forget.Scrubber], saved: Mapping[str, Mapping[str, str]]
) -> None:
    """Clean what came before it was known that it is a forgotten customer's, in an earlier pull too."""
    tables = {name: [each.table.name] for name, each in pull.streams.items()}
    hard = [each.table.name for each in pull.streams.values() if each.shape.hard]
    for account, scrubber in scrubbers.items():
        whole = f"{forget.UNCLEAN}{account}" in saved[account]
        if whole or scrubber.learnt:
            erase.again(pull.warehouse, scrubber, tables=tables, hard=hard, fence=pull.fence, whole=whole)


def _reading(
    pull: run.Pull,
    account: str,
    stripe: client.Client,
    targets: Mapping[str, load.Target],
    loader: load.Loader,
) -> reading.Reading:
    found = scope.shared(
        stripe,
        targets,
        loader,
        account=account,
        warehouse=pull.warehouse,
        screen=pull.screen,
        starts=scope.starts(pull.options, targets),
    )
    return dataclasses.replace(
        found,
        decoder=pull.decoder,
        shut=pull.shut.setdefault(account, {}) if pull.patient else {},
        named=pull.named,
        patient=pull.patient,
        ahead=not (pull.patient or pull.options.settled),
        exclude_before=pull.options.before_start == "exclude",
        accept=pull.options.accept,
        early=pull.early,
        proven=pull.proven,
        mail=pull.mail,
    )


def _shape(pull: run.Pull, name: str) -> tuple[object, ...]:
    """All that makes a stream's rows what they are; with another, those that are stored are out of date."""
    choice = pull.options.choices.get(name, scope.Choice())
    table = choice.table or name
    shown = (choice.columns, choice.hashed, choice.where, choice.hard, choice.history, table)
    derived = [(name, each.source, each.value, each.sql, each.type) for name, each in choice.derive.items()]
    lost = [pull.lost[name]] if name in pull.lost else []
    return (pull.stripe.api_version, *shown, *derived, *lost)


def _wishes(pull: run.Pull, account: str) -> cycle.Wishes:
    return cycle.Wishes(
        pull.wanted,
        pull.ways,
        full_refresh=pull.options.full_refresh and account not in pull.refreshed,
        refreshed=frozenset(name for name, each in pull.options.choices.items() if each.refresh),
        shapes={name: cycle.fingerprint(_shape(pull, name)) for name in pull.streams},
        lost=frozenset(pull.lost),
        lookback=pull.options.lookback,
        given=pull.options.lookback_given,
        lookbacks={
            name: each.lookback for name, each in pull.options.choices.items() if each.lookback is not None
        },
        between=pull.between,
    )


def _is_disconnected(error: errors.TidegateError) -> bool:
    return isinstance(error, errors.Unauthorized) and error.code == "account_invalid"


def _abandon(outcomes: Iterable[report.Outcome], error: errors.TidegateError) -> None:
    for outcome in outcomes:
        if not outcome.done:
            outcome.fail("failed", f"not read to its end: {error}")
            outcome.done = True
