"""A server's jobs in a process of their own, to be killed: `resuming_child.py FILE [KIND WHAT WISH]`.

With the last three it begins a job; otherwise it takes up what there is. It says `going` when a job goes on here,
or none is left, and ends once none goes on any more.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import seen

from tidegate.engine import jobs as doing
from tidegate.store import jobs
from tidegate.views import resuming


def main(file: str, begun: Sequence[str]) -> None:
    """Do what jobs there are, as a server does."""
    with seen.place(Path(file)) as place:
        if begun:
            kind = next(each for each in jobs.KINDS if each == begun[0])
            wish = json.loads(begun[2])
            doing.begin(place, "ann", kind, begun[1], wish, resuming.WORK[kind](wish))
        with resuming.keeping(place):
            while any(
                each.alive and not each.worker.startswith(f"{place.worker}/")
                for each in jobs.listed(place.store)
            ):
                time.sleep(0.01)
            print("going", flush=True)
            while any(each.alive for each in jobs.listed(place.store)):
                time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
