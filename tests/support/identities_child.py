"""Resolves the model in a DuckDB file for ever, in a child that is to be killed: `identities_child.py FILE`.

For each line on stdin a child is made, which begins once it has said its number, and says when it first publishes.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import identities

from tidegate.customers import publishing
from tidegate.customers.rules import Rules


def main(path: str) -> None:
    """Make children, one after the other: what they need is loaded once."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _resolve(path, int(line))
        os.waitpid(child, 0)


def _resolve(path: str, seed: int) -> None:
    """Turn the rules round at each step, so that there is always something to publish."""
    commit, told = publishing.commit, list[str]()

    def telling(*given: Any, **more: Any) -> None:
        if not told:
            told.append("publishing")
            print("publishing", flush=True)
        commit(*given, **more)

    vars(publishing)["commit"] = telling
    print(os.getpid(), flush=True)
    model = identities.Model(f"duckdb:///{path}")
    model.steps = 1000 * seed
    while True:
        for identifiers in (("email", "phone"), ("phone",), ("email",)):
            model.resolve(Rules(identifiers, 8))


if __name__ == "__main__":
    main(sys.argv[1])
