"""In CI every test runs: one that is skipped or expected to fail fails the session."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ("businesses",)

ALL_MUST_RUN = os.environ.get("CI", "").lower() in ("1", "true") or os.environ.get("TIDEGATE_NO_SKIP") == "1"


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
