"""`tidegate` in a process that is killed whenever it pulls a certain account: `doomed.py FILE run|worker ...`.

FILE names the account; whichever worker pulls first chooses it. Who leads the run does not choose, but is killed as
well. What another process takes over is silent for seconds only, so that this does not take for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tidegate import cli
from tidegate.engine import place, spread
from tidegate.pull import claims
from tidegate.warehouse import base

SILENT, RUN_SILENT = 4.0, 16.0


def main(file: Path, words: list[str]) -> Any:
    """Do as `tidegate` does, until the account is pulled."""
    leads, join = words[0] == "run", claims.join

    def claimed(
        warehouse: base.Warehouse, attempt: str, fence: base.Fence, accounts: Collection[str]
    ) -> base.Fence:
        if not leads:
            with contextlib.suppress(FileExistsError), file.open("x") as made:
                made.write(sorted(accounts)[len(accounts) // 2])
        if file.exists() and file.read_text() in accounts:
            os.kill(os.getpid(), signal.SIGKILL)
        return join(warehouse, attempt, fence, accounts)

    vars(claims)["join"], vars(spread)["SILENT"], vars(place)["SILENT"] = claimed, SILENT, RUN_SILENT
    sys.argv[1:] = words
    return cli.main()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
