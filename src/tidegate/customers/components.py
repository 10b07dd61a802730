"""Which nodes of a graph hang together, found by joins: what is linked through others, however far.

Each round gives every node the neighbour, or itself, that a shuffled order puts first, and makes a graph of those
nodes that were chosen. A round leaves three quarters of the nodes at most, in expectation, whatever the graph looks
like, so a chain of 100,000 takes fewer than 20 rounds, and all rounds together cost a few times the first.
Afterwards the choices are followed back. This is randomised contraction (H. Bögeholz, M. Brand, R. Todor:
In-database connected component analysis, 2019, https://arxiv.org/abs/1802.09478), with orders that are the same in
each run.
"""

from __future__ import annotations

from tidegate.customers import space as spaces

PRIME = 2_147_483_647
"""Multiplying modulo a prime shuffles the numbers below it; products of two still fit 64 bits."""
SPAN = 2_147_483_648
"""More than any node: a place in the shuffled order times this, plus the node, is one number."""
MOST = PRIME - 1
"""Nodes have numbers from 1 to this."""


def found(space: spaces.Space, edges: str, to: str) -> int:
    """Make the work table `to` (v, c): for each node `v` of a graph a node `c`, the same for all of its part.

    `edges` is the name for statements of a table (v, w) of numbers, v <> w, in either direction or both, no pair
    twice. Which node stands for a part depends on the graph alone. Returns how many rounds it took.
    """
    pairs = {"v": spaces.NUMBER, "w": spaces.NUMBER}
    chosen = {"v": spaces.NUMBER, "c": spaces.NUMBER}
    space.fill(
        f"{to}_e0", pairs, ("v", "w"), f"SELECT v, w FROM {edges} UNION SELECT w AS v, v AS w FROM {edges}"
    )
    rounds = 0
    while space.count(f"{to}_e{rounds}"):
        here, near = space[f"{to}_e{rounds}"], _place("w", rounds)
        space.fill(
            f"{to}_c{rounds}",
            chosen,
            ("v",),
            f"SELECT v, least(min({near}), {_place('v', rounds)}) % {SPAN} AS c FROM {here} GROUP BY v",
        )
        first = space[f"{to}_c{rounds}"]
        space.fill(
            f"{to}_e{rounds + 1}",
            pairs,
            ("v", "w"),
            f"SELECT DISTINCT a.c AS v, b.c AS w FROM {here} AS e JOIN {first} AS a ON a.v = e.v "
            f"JOIN {first} AS b ON b.v = e.w WHERE a.c <> b.c",
        )
        space.drop(f"{to}_e{rounds}")
        rounds += 1
    space.drop(f"{to}_e{rounds}")
    _follow(space, to, rounds)
    return rounds


def _place(node: str, turn: int) -> str:
    """SQL for a node with its place in the shuffled order of a round in front."""
    factor = pow(48_271, 2 * turn + 1, PRIME)
    # The sum stays below 2^62, its remainder below 2^31, and that times SPAN below 2^62 again.
    return f"(({node} * {factor} + {pow(16_807, turn + 1, PRIME)}) % {PRIME}) * {SPAN} + {node}"


def _follow(space: spaces.Space, to: str, rounds: int) -> None:
    """The choices of all rounds as one, from the last to the first."""
    chosen = {"v": spaces.NUMBER, "c": spaces.NUMBER}
    if not rounds:
        space.make(to, chosen, ("v",))
        return
    last = f"{to}_c{rounds - 1}"
    for turn in reversed(range(rounds - 1)):
        one = to if turn == 0 else f"{to}_m{turn}"
        space.fill(
            one,
            chosen,
            ("v",),
            f"SELECT a.v, coalesce(b.c, a.c) AS c FROM {space[f'{to}_c{turn}']} AS a "
            f"LEFT JOIN {space[last]} AS b ON b.v = a.c",
        )
        space.drop(f"{to}_c{turn}", last)
        last = one
    if last != to:
        space.fill(to, chosen, ("v",), f"SELECT v, c FROM {space[last]}")
        space.drop(last)
