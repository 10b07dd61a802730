"""In CI every test runs: one that is skipped or expected to fail fails the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import servers
import warm

import tidegate
from tidegate import sandbox

pytest_plugins = ("businesses", "asked")

ALL_MUST_RUN = os.environ.get("CI", "").lower() in ("1", "true") or os.environ.get("TIDEGATE_NO_SKIP") == "1"


LONGEST = (
    "tests/warehouse/test_history.py",
    "tests/pull/test_model.py",
    "tests/web/test_everywhere.py",
    "tests/pull/test_exact.py",
    "tests/pull/test_everywhere.py",
    "tests/audit/test_proof.py",
    "tests/engine/test_delivered.py",
    "tests/customers/test_killed.py",
    "tests/api/test_description.py",
    "tests/pull/test_kill_following.py",
    "tests/engine/test_workers.py",
    "tests/cli/test_pipeline.py",
    "tests/customers/test_run.py",
    "tests/web/test_walk_first_run.py",
    "tests/web/test_walk_keyboard.py",
    "tests/store/test_operations_cut.py",
    "tests/push/test_loops.py",
    "tests/pull/test_forgotten.py",
    "tests/pull/test_kill.py",
    "tests/engine/test_push_kills.py",
    "tests/cli/test_run.py",
    "tests/store/test_crashes.py",
)
"""Files with tests of half a minute and more, the longest first."""

BUNDLE = ("app.js", "app.css", "inter.woff2", "favicon.svg")
"""Names that pages look up in what was built of styles and scripts."""

STARTING = "test_serving.py"
"""Here it is tested how a sandbox is started."""


@pytest.fixture(scope="module", autouse=True)
def _sandboxes_start_warm(request: pytest.FixtureRequest) -> Iterator[None]:
    """Sandboxes in processes of their own begin with their modules imported: 30 ms instead of 400."""
    if request.path.name == STARTING:
        yield
        return
    with mock.patch.object(sandbox, "process", warm.sandbox):
        yield


@pytest.fixture(scope="session", autouse=True)
def _bundled() -> Iterator[None]:
    """Where styles and scripts are not built, for want of npm's registry, their names stand for themselves."""
    with pytest.MonkeyPatch.context() as patch:
        if not (Path(tidegate.__file__).parent / "web" / "static" / "manifest.json").exists():
            from tidegate.web import assets

            patch.setattr(assets, "manifest", lambda _=None: {name: name for name in BUNDLE})
        yield


@pytest.fixture(autouse=True)
def _databases_dropped() -> Iterator[None]:
    """What a test's own databases took of the disk is free again when it ends."""
    with servers.databases_dropped():
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each of several processes begin with some of the longest files, so that none is left for the end."""
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers == 1:
        return
    by_file: dict[str, list[pytest.Item]] = {name: [] for name in LONGEST}
    others: list[pytest.Item] = []
    for item in items:
        by_file.get(item.nodeid.partition("::")[0], others).append(item)
    dealt: list[pytest.Item] = []
    for number in range(workers):
        # xdist gives each an equal part, in order.
        size = (len(items) - len(dealt)) // (workers - number)
        share = [item for name in LONGEST[number::workers] for item in by_file[name]]
        room = max(size - len(share), 0)
        dealt += share + others[:room]
        del others[:room]
    items[:] = dealt + others


def _not_run(config: pytest.Config) -> list[str]:
    """The tests that were skipped or excused; on the controller, which hears of all of them."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not ALL_MUST_RUN or reporter is None or hasattr(config, "workerinput"):
        return []
    return [
        report.nodeid for kind in ("skipped", "xfailed", "xpassed") for report in reporter.getreports(kind)
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _not_run(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name in _not_run(config):
        terminalreporter.write_line(f"not run, which CI forbids: {name}", red=True)
