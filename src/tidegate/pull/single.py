"""One object by its address, with what is only told when asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tidegate import errors
from tidegate.pull import plan, reading
from tidegate.stripe import client, pages


async def get(
    way: reading.Trip, node: plan.Node, path: str, endpoint: str
) -> tuple[reading.Trip, client.Response]:
    """Ask for an object of a node, and once more without `expand[]` where this Stripe refuses that.

    The trip that comes with the answer knows how it was had: what is absent is then fetched by itself. Raises as
    `Client.get`.
    """
    asked = [name.removeprefix("data.") for name in way.expand(node)]
    try:
        return way, await way.get(path, expanded(asked, node), endpoint)
    except errors.InvalidRequest as error:
        if not asked or not reading.refuses_expand(error):
            raise
    plain = dataclasses.replace(way, plain=True)
    return plain, await plain.get(path, {}, endpoint)


def expanded(names: Sequence[str], node: plan.Node) -> pages.Params:
    """What asks for fields of one object that are absent otherwise."""
    if not names:
        return {}
    return {"include": names} if node.stream.api == "v2" else {"expand[]": names}
