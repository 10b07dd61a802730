"""`tidegate` in a process that kills itself at a step of a push: `doomed_push.py STEP WORDS...`; 0 is never.

The step's name goes to stdout.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from tidegate import cli
from tidegate.push import steps


def main(step: int, words: list[str]) -> Any:
    """Do as `tidegate` does, until a push reaches the step."""
    number = itertools.count(1)

    def reached(name: str) -> None:
        if next(number) == step:
            print(name, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    vars(steps)["listener"] = reached
    sys.argv[1:] = words
    return cli.main()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
