"""`tidegate inbox`: the rows of pushes that are not written, why, and what a person says to that."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import config, errors, views
from tidegate.cli import connect, output, pushing
from tidegate.store import database, holds, links
from tidegate.views import deciding, undecided

SHOWN = 100


def inbox(
    push: str | None = None,
    key: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    kind: Annotated[tuple[holds.Kind, ...] | None, Parameter(negative=())] = None,
    retry: bool = False,
    skip: bool = False,
    choose: str | None = None,
    all: bool = False,
    limit: int = SHOWN,
    after: str | None = None,
    json: bool = False,
) -> int:
    """List the rows of pushes that are not written, and decide on them.

    A decision is carried out by the next run of the push.

    Parameters
    ----------
    push
        One push; all by default.
    key
        The key of a row that is shown or decided on.
    config_file
        The configuration; tidegate.yaml by default.
    kind
        Only rows of this kind, such as `ambiguous`; several times for several kinds.
    retry
        Try the row again.
    skip
        Leave it as it is until it changes.
    choose
        Which object the row is: its id, `oldest` or `newest` of several, or `create` for a
        new one; of a conflict whose value counts, `warehouse` or `stripe`.
    all
        Decide on all rows of the push, or of a kind; not on those that somebody skipped,
        or chose for.
    limit
        How many are listed, the oldest first.
    after
        Go on where the page before ended, as it said.
    json
        Print a JSON object, last on stdout.
    """
    decision = _decision(push, key, retry=retry, skip=skip, choose=choose, every=all)
    if choose is not None and all:
        deciding.for_all(choose, kind or ())
    file = connect.configuration(config_file)
    if push is not None and push not in file.pushes:
        known = ", ".join(file.pushes) or "none"
        raise errors.ConfigError(f"there is no push {push!r} in the configuration; it has {known}")
    with contextlib.closing(connect.store(file)) as store:
        if all and push is not None:
            told = deciding.all_decided(store, views.person(), push, kind or (), decision, choose or "")
            if json:
                output.print_json(told)
            else:
                others = f"; {told['left']:,} are of another kind, or decided already" if told["left"] else ""
                output.say(
                    f"{push}: {output.counted(told['decided'], 'row')}: {deciding.WORDS[decision]}{others}"
                )
            return 0
        if push is not None and key is not None:
            return _one(file, store, config_file, push, key, decision, choose or "", json=json)
        found = holds.listed(store, push, kinds=kind or (), limit=limit + 1, after=_placed(after))
        page, more = found[:limit], found[limit:]
        counts = {name: _counts(store, name) for name in ([push] if push else _pushes(file, page))}
        following = _place(page[-1]) if more else None
        if json:
            told_counts = {name: dict(each) for name, each in counts.items() if each}
            listed = [dataclasses.asdict(each) for each in page]
            output.print_json({"holds": listed, "counts": told_counts, "after": following})
        elif not page:
            output.say("every row is written, or needs nothing" if after is None else "there are no more")
        else:
            _list(file, store, config_file, page, counts)
            if following:
                output.say(f"there are more: --after {following}")
    return 0


def _decision(
    push: str | None, key: str | None, *, retry: bool, skip: bool, choose: str | None, every: bool
) -> holds.State:
    """What becomes of the rows that are decided on; `held` where nothing is decided."""
    wished: dict[holds.State, bool] = {"waiting": retry, "skipped": skip, "chosen": choose is not None}
    decisions = [state for state, is_wished in wished.items() if is_wished]
    if len(decisions) > 1:
        raise errors.ConfigError("--retry, --skip and --choose exclude each other; give one of them")
    if every and not decisions:
        raise errors.ConfigError("say what becomes of all of them: --retry, --skip or --choose")
    if every and key is not None:
        raise errors.ConfigError(f"--all means every row of {push}, and {key} is one; give one of the two")
    if every and push is None:
        raise errors.ConfigError("say of which push all rows are meant: tidegate inbox PUSH --all --retry")
    if decisions and not every and (push is None or key is None):
        raise errors.ConfigError(
            "say which row is meant, tidegate inbox PUSH KEY --retry, or --all of a push's rows"
        )
    return decisions[0] if decisions else "held"


def _one(
    file: config.Config,
    store: database.Database,
    config_file: Path | None,
    push: str,
    key: str,
    decision: holds.State,
    choice: str,
    *,
    json: bool,
) -> int:
    """Decide on one row, or show it."""
    hold = holds.find(store, push, key)
    if hold is None:
        raise errors.ConfigError(
            f"the row {key!r} of {push} is not held; `tidegate inbox {push}` lists those that are, "
            f"`tidegate record {push} {key}` shows what became of it"
        )
    if decision != "held":
        if decision == "chosen" and not deciding.meant(hold, choice):
            raise errors.ConfigError(
                f"{choice} is nothing that can be chosen for {key}, which is {hold.kind}: "
                f"{deciding.NEXT[hold.kind]}"
            )
        hold = deciding.decided(store, views.person(), hold, decision, choice)
    if json:
        output.print_json({"holds": [dataclasses.asdict(hold)]})
    elif decision != "held":
        output.say(f"{key} of {push}: {deciding.WORDS[hold.state]}")
    else:
        _list(file, store, config_file, [hold], {})
    return 0


def _pushes(file: config.Config, page: Sequence[holds.Hold]) -> list[str]:
    return list(dict.fromkeys([*file.pushes, *(each.push for each in page)]))


def _counts(store: database.Database, push: str) -> dict[str, int]:
    """How many rows of each kind, the most first."""
    found: dict[str, int] = {}
    for (kind, _), number in holds.counts(store, push).items():
        found[kind] = found.get(kind, 0) + number
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _place(hold: holds.Hold) -> str:
    return f"{hold.opened_at!r}/{hold.push}/{hold.key}"


def _placed(after: str | None) -> holds.Hold | None:
    """The last row of the page before, as far as it says where the next one begins."""
    if after is None:
        return None
    at, _, rest = after.partition("/")
    push, _, key = rest.partition("/")
    with contextlib.suppress(ValueError):
        if key:
            place = float(at)
            return holds.at(place, push, key)
    raise errors.ConfigError(f"{after!r} is no place in a list; give --after as the page before said it")


def _list(
    file: config.Config,
    store: database.Database,
    config_file: Path | None,
    page: Sequence[holds.Hold],
    counts: Mapping[str, Mapping[str, int]],
) -> None:
    """Rows on the screen, by push: how many of which kind, the rows, and what can be done."""
    from rich import box
    from rich.table import Table

    screen = output.console()
    for push in dict.fromkeys(each.push for each in page):
        mine = [each for each in page if each.push == push]
        told = counts.get(push, {})
        if told:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in told.items())
            screen.print(f"{push}: {output.counted(sum(told.values()), 'row')} not written: {kinds}")
        known = _objects(file, store, config_file, push, mine)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("row", overflow="fold")
        table.add_column("what", no_wrap=True)
        table.add_column("since (UTC)", no_wrap=True)
        table.add_column("why", overflow="fold")
        for each in mine:
            since = f"{dt.datetime.fromtimestamp(each.opened_at, dt.UTC):%Y-%m-%d %H:%M}"
            what = "\n".join([each.kind, *([] if each.state == "held" else [_state(each)])])
            table.add_row(each.key, what, since, "\n".join([each.text, *known.get(each.key, ())]))
        screen.print(table)
    for kind in dict.fromkeys(each.kind for each in sorted(page, key=lambda each: each.kind)):
        screen.print(f"{kind}: {deciding.NEXT[kind]}.")


def _state(hold: holds.Hold) -> str:
    if hold.state == "waiting" and hold.next_at is not None and hold.failures:
        return f"until {dt.datetime.fromtimestamp(hold.next_at, dt.UTC):%H:%M}"
    return {"waiting": "to be retried", "chosen": f"-> {hold.choice}"}.get(hold.state, hold.state)


def _objects(
    file: config.Config,
    store: database.Database,
    config_file: Path | None,
    push: str,
    page: Sequence[holds.Hold],
) -> dict[str, list[str]]:
    """What a person tells objects apart by, a line each: the candidates of rows, else the object that a row is.

    As the last run of the push left them, on this machine; only their ids where that is not to be had.
    """
    linked = links.find(store, push, [each.key for each in page])
    named: dict[str, list[str]] = {}
    for each in page:
        own = [linked[each.key].target] if each.key in linked else []
        named[each.key] = [id for id in each.candidates if id not in deciding.SIDES] or own
    wanted = [id for ids in named.values() for id in ids]
    found = undecided.objects(file, pushing.folder(config_file), push, wanted)
    texts = {each.key: each.text for each in page}
    return {
        key: [f"  {_told(id, found.get(id))}" for id in ids if id in found or id not in texts[key]]
        for key, ids in named.items()
    }


def _told(id: str, live: Mapping[str, object] | None) -> str:
    if live is None:
        return id
    created = live.get("created")
    made = f"{dt.datetime.fromtimestamp(created, dt.UTC):%Y-%m-%d}" if isinstance(created, int) else ""
    facts = (live.get(name) for name in ("name", "email", "nickname", "code", "lookup_key", "description"))
    shown = [str(each) for each in facts if each][:2]
    return "  ".join(each for each in (id, made, *shown) if each)
