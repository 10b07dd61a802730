"""Flows that run after other flows: whom a name means, and every way in which that can go wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tidegate import config, errors
from tidegate.config import chains

BASE = """
stripe: {acme: {api_key: sk_test_1}}
warehouses: {local: {type: duckdb, path: w.duckdb}}
models: {m: {warehouse: local, sql: select 1, key: id}}
"""


def flow(schedule: str) -> str:
    return f"{{from: acme, to: local, schedule: {schedule}}}"


def push(schedule: str) -> str:
    return (
        f"{{model: m, to: acme, object: customer, match: {{a: b}}, fields: {{a: b}}, schedule: {schedule}}}"
    )


def load(folder: Path, text: str) -> config.Config:
    file = folder / "tidegate.yaml"
    file.write_text(BASE + text)
    return config.load(file, environ={"NAME": "geheim"})


def refused(folder: Path, text: str) -> list[str]:
    """The lines of the error, without the file and the column."""
    with pytest.raises(errors.ConfigError) as caught:
        load(folder, text)
    return [re.sub(r"^.*?yaml:(\d+):\d+: ", r"\1: ", line) for line in str(caught.value).splitlines()]


def test_a_name_means_the_flow_that_has_it(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        f"""
pulls: {{eu: {flow("every 1h")}, us: {flow("{after: eu}")}, alone: {flow("manual")}}}
pipelines: {{shaped: {flow("{after: [eu, us, 'pull:eu']}")}}}
pushes: {{back: {push("{after: shaped}")}}}
""",
    )
    assert chains.downstream(found) == {
        "pull:eu": ("pull:us", "pipeline:shaped"),
        "pull:us": ("pipeline:shaped",),
        "pipeline:shaped": ("push:back",),
    }


def test_a_name_that_several_kinds_have_is_written_in_full(tmp_path: Path) -> None:
    flows = f"pulls: {{a: {flow('manual')}}}\npipelines: {{a: {flow('{after: NAME}')}}}\n"
    assert refused(tmp_path, flows.replace("NAME", "a")) == [
        "6: pipelines.a.schedule.after: several flows have this name; write pull:a or pipeline:a"
    ]
    found = load(tmp_path, flows.replace("NAME", "'pull:a'"))
    assert chains.downstream(found) == {"pull:a": ("pipeline:a",)}


@pytest.mark.parametrize(
    ("flows", "line"),
    [
        (
            f"pulls:\n  everything: {flow('manual')}\n  b: {flow('{after: evrything}')}",
            "7: pulls.b.schedule.after: there is no pull, pipeline or push of this name; "
            "did you mean 'everything'?",
        ),
        (
            f"pulls:\n  everything: {flow('manual')}\n  b: {flow('{after: [everything, zzz]}')}",
            "7: pulls.b.schedule.after[1]: there is no pull, pipeline or push of this name",
        ),
        (
            f"pulls:\n  a: {flow('manual')}\n  b: {flow('{after: push:a}')}",
            "7: pulls.b.schedule.after: there is no pull, pipeline or push of this name; "
            "did you mean 'pull:a'?",
        ),
        (
            f"pulls:\n  a: {flow('Continuous')}\n  b: {flow('{after: a}')}",
            "7: pulls.b.schedule.after: this one is continuous and never ends; "
            "write an interval, such as every 15m",
        ),
        (
            f"pulls:\n  a: {flow('{after: a}')}",
            "6: pulls.a.schedule.after: a flow cannot run after itself; "
            "give one an interval, such as every 15m",
        ),
        (
            f"pulls:\n  z: {flow('{after: b}')}\n  a: {flow('{after: z}')}\n  b: {flow('{after: [a]}')}",
            "6: pulls.z.schedule.after: a circle: pull:z after pull:b after pull:a after pull:z; "
            "give one an interval, such as every 15m",
        ),
        (
            f"pushes:\n  p: {push('{after: a}')}\npulls:\n  a: {flow('{after: p}')}",
            "8: pulls.a.schedule.after: a circle: pull:a after push:p after pull:a; "
            "give one an interval, such as every 15m",
        ),
        (
            f"pulls:\n  b: {flow('{after: {a: 1}}')}",
            "6: pulls.b.schedule.after: must be a list, not a mapping",
        ),
        (
            f"pulls:\n  b: {flow('{after: []}')}",
            "6: pulls.b.schedule.after: must have at least one entry",
        ),
        (
            f"pulls:\n  a: {flow('manual')}\n  b: {flow('{after: [a, 3]}')}",
            "7: pulls.b.schedule.after[1]: must be text, not a number",
        ),
        (
            f"pulls:\n  a: {flow('manual')}\n  b: {flow('{after: a, timezone: UTC}')}",
            "7: pulls.b.schedule.timezone: unknown key; known here: after",
        ),
    ],
)
def test_a_reference_that_cannot_be_is_told_with_its_place(tmp_path: Path, flows: str, line: str) -> None:
    assert refused(tmp_path, flows) == [line]


def test_two_circles_are_told_once_each(tmp_path: Path) -> None:
    lines = refused(
        tmp_path,
        f"""
pulls:
  a: {flow("{after: [b, c]}")}
  b: {flow("{after: a}")}
  c: {flow("{after: a}")}
  d: {flow("{after: a}")}
""",
    )
    assert lines == [
        "7: pulls.a.schedule.after[0]: a circle: pull:a after pull:b after pull:a; "
        "give one an interval, such as every 15m",
        "7: pulls.a.schedule.after[1]: a circle: pull:a after pull:c after pull:a; "
        "give one an interval, such as every 15m",
    ]


def test_a_long_chain_is_no_circle(tmp_path: Path) -> None:
    flows = "".join(f"  p{n}: {flow(f'{{after: p{n - 1}}}')}\n" for n in range(1, 400))
    found = load(tmp_path, f"pulls:\n  p0: {flow('every 1h')}\n{flows}")
    assert len(chains.downstream(found)) == 399


def test_a_name_from_the_environment_is_not_repeated(tmp_path: Path) -> None:
    after = flow("{after: '${NAME}'}")
    lines = refused(tmp_path, f"pulls:\n  geheime: {flow('manual')}\n  b: {after}")
    assert lines == ["7: pulls.b.schedule.after: there is no pull, pipeline or push of this name"]
