"""Which warehouse does what, as the tests found it: `./dev bench matrix [ADAPTER ...]`.

Runs the suites that every adapter passes, and prints a row per case and a column per adapter.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import report
import rich.console
import rich.table

ROOT = Path(__file__).resolve().parent.parent
SUITES = (
    "tests/warehouse/test_conformance.py",
    "tests/warehouse/test_deletes.py",
    "tests/warehouse/test_history.py",
    "tests/pull/test_everywhere.py",
)
_NAMED = re.compile(r"^test_(?P<case>\w+)\[(?P<values>.*)\]$", re.DOTALL)


def adapters() -> list[str]:
    """The adapters that the tests know, in their order."""
    sys.path[:0] = [str(ROOT / "tests" / each) for each in ("support", "fakes")]
    return list(importlib.import_module("fleet").NAMES)


def judged(chosen: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """By case and adapter, how each of its values went: passed, failed or skipped."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "found.xml")
        words = [sys.executable, "-m", "pytest", "-q", "-n", str(os.cpu_count() or 1), f"--junitxml={found}"]
        words += ["-k", " or ".join(f"[{name}" for name in chosen)] if len(chosen) < len(adapters()) else []
        subprocess.run([*words, *SUITES], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        tree = ET.parse(found)
    cases: dict[str, dict[str, list[str]]] = {}
    for test in tree.iter("testcase"):
        named = _NAMED.match(test.get("name", ""))
        if named is None:
            continue
        adapter = next((name for name in chosen if name in re.split(r"[-\]]", named["values"])), "")
        if adapter:
            broken = test.find("failure") is not None or test.find("error") is not None
            how = "failed" if broken else "skipped" if test.find("skipped") is not None else "passed"
            cases.setdefault(named["case"].replace("_", " "), {}).setdefault(adapter, []).append(how)
    return cases


def matrix(chosen: Sequence[str] = ()) -> list[report.Line]:
    """Print the matrix; the lines count it."""
    columns = list(chosen) or adapters()
    cases = judged(columns)
    table = rich.table.Table("case", *columns, title="Conformance", title_justify="left")
    for case, found in cases.items():
        table.add_row(case, *(_cell(found.get(name, [])) for name in columns))
    rich.console.Console(width=72 + 12 * len(columns)).print(table)
    lines = []
    for name in columns:
        went = [how for found in cases.values() for how in found.get(name, [])]
        good = bool(went) and all(how == "passed" for how in went)
        lines.append(report.Line(name, f"{went.count('passed')} of {len(went)}", "all", good))
    return lines


def _cell(went: Sequence[str]) -> str:
    if not went:
        return ""
    if all(how == "passed" for how in went):
        return f"yes {len(went)}" if len(went) > 1 else "yes"
    return f"NO {len(went) - went.count('passed')} of {len(went)}"


if __name__ == "__main__":
    report.show("Adapters", matrix(sys.argv[1:]))
