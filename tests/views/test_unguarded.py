"""What `tidegate check` says of a pipeline whose function the system does not guard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate import config
from tidegate.shape import bounded
from tidegate.views import checks

FILE = """
stripe: {acme: {api_key: rk_test_1}}
warehouses: {one: {type: duckdb, path: one.duckdb}}
pipelines: {people: {from: acme, to: one, function: {python: f.py}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> config.Config:
    (tmp_path / "f.py").write_text("def transform(customer):\n    return {'customer_id': customer['id']}\n")
    (tmp_path / "tidegate.yaml").write_text(FILE)
    return config.load(tmp_path / "tidegate.yaml")


def definition(file: config.Config) -> str:
    """What the first step of a check found."""
    step = checks.pipelines(file, ["people"])["people"][0]
    assert step.ok, step.detail
    return step.detail


def test_a_function_that_the_kernel_does_not_guard_is_told(
    file: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = bounded._program
    prefix = "import platform; platform.machine = lambda: 'riscv64'; "
    monkeypatch.setattr(bounded, "_program", lambda *given: prefix + program(*given))
    assert (
        "; The kernel of this system guards no function (it offers no seccomp): the function f.py"
        in definition(file)
    )


def test_of_one_that_is_guarded_there_is_nothing_to_say(
    file: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.shape.functions.Run.unguarded", "")
    assert definition(file) == "18 properties"
