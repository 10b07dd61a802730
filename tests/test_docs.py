"""The docs say what the code says: every command, flag, configuration key, exit code and stream outcome."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate import cli, config, errors

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading}"
    return found[1]


def test_the_generated_parts_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "build.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_is_documented_with_every_flag(name: str) -> None:
    command = cli.app()[name]
    assert command.help.strip().splitlines()[0] == cli.COMMANDS[name]
    described = section(page("cli.md"), name)
    assert cli.COMMANDS[name] in described
    for argument in command.assemble_argument_collection():
        flag = next((each for each in argument.names if each.startswith("--")), None)
        if flag is not None and argument.show:
            assert f"`{flag}" in described or f", {flag}" in described, f"{name} {flag}"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_flag_says_what_it_is_for(name: str) -> None:
    for line in section(page("cli.md"), name).splitlines():
        if line.startswith("* `"):
            assert re.match(r"\* `[^`]+`: \S.*", line), f"{name}: {line}"


def test_every_key_of_the_configuration_is_documented_with_its_meaning() -> None:
    text = page("configuration.md")
    schema = config.json_schema()
    for name, model in (("Config", schema), *schema["$defs"].items()):
        if "properties" not in model:
            continue
        part = re.search(rf"<!-- keys: {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
        assert part, f"configuration.md has no table for {name}"
        rows = dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|", part[1], re.MULTILINE))
        assert set(rows) == set(model["properties"])
        assert all(rows.values())


def test_every_exit_code_is_documented() -> None:
    def codes(kind: type[errors.TidegateError]) -> set[int]:
        return {kind.exit_code}.union(*(codes(each) for each in kind.__subclasses__()))

    listed = {
        int(code) for code in re.findall(r"^\| (\d+) \|", section(page("errors.md"), "Exit codes"), re.M)
    }
    assert codes(errors.TidegateError) | {0, 130, 141} == listed


@pytest.mark.parametrize("file", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        there = (DOCS / name).read_text(encoding="utf-8") if name else text
        headings = {
            heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", there, re.MULTILINE)
        }
        assert not anchor or anchor in headings


def test_every_page_is_reached_from_the_first() -> None:
    reached, new = set[str](), {"index.md"}
    while new:
        reached |= new
        new = {name for each in new for name in re.findall(r"\]\(([\w-]+\.md)\b", page(each))} - reached
    assert {file.name for file in PAGES} == reached


def test_the_example_of_the_configuration_page_is_right(tmp_path: Path) -> None:
    example = re.search(r"```yaml\n(stripe:.*?)```", page("configuration.md"), re.DOTALL)
    assert example
    (tmp_path / "tidegate.yaml").write_text(example[1])
    found = config.load(tmp_path / "tidegate.yaml", environ={"STRIPE_API_KEY": "rk_test_1"})
    assert found.pulls["everything"].options("charges").excluded == {"receipt_url"}


NAMED: dict[str, dict[str, Any]] = {
    "stripe": {name: {"api_key": "${STRIPE_API_KEY}"} for name in ("acme", "eu", "us")},
    "warehouses": {
        "local": {"type": "duckdb", "path": "local.duckdb"},
        "prod": {"type": "duckdb", "path": "prod.duckdb"},
        "books": {"type": "duckdb", "path": "books.duckdb"},
        "search": {"type": "elasticsearch", "url": "https://search.example.com:9200"},
        "sheet": {"type": "google_sheets", "spreadsheet": "1AbC", "credentials": "{}"},
    },
    "models": {name: {"warehouse": "prod", "table": name, "key": "id"} for name in ("accounts", "tiers")},
    "pipelines": {
        name: {"from": "acme", "to": "prod", "stream": "customers"}
        for name in ("eu_customers", "crm_customers")
    },
}
"""What examples name without showing it."""

SAID = {
    "STRIPE_API_KEY": "rk_test_1",
    "PLATFORM_KEY": "sk_test_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
    "DATABASE_URL": "postgresql://tidegate:secret@db.example.com/tidegate",
    "SLACK_URL": "https://hooks.slack.com/services/1",
    "SMTP_URL": "smtp://tidegate:secret@mail.example.com:587",
    "ALERTS_URL": "https://alerts.example.com/tidegate",
}
"""What the environment says; anything else in it is a password."""

ELSEWHERE = {"scrape_configs"}
"""What the configuration of another program begins with."""


def whole(part: dict[str, Any]) -> dict[str, Any]:
    """An example as a configuration: what it names is there, and a fragment stands where its page says."""
    if "streams" in part:
        part = {"pulls": {"example": {"from": "acme", "to": "prod", **part}}}
    elif "where" in part:
        part = {"pulls": {"example": {"from": "acme", "to": "prod", "streams": {"charges": part}}}}
    elif "filter" in part or "function" in part:
        part = {"pipelines": {"example": {"from": "acme", "to": "prod", **part}}}
    elif "on_immutable" in part:
        price = {"model": "accounts", "to": "acme", "object": "price", "match": {"lookup_key": "id"}}
        part = {"pushes": {"example": {**price, "fields": {"nickname": "name"}, **part}}}
    elif not part.keys() & config.json_schema()["properties"].keys():
        part = {"pipelines": {"example": {"from": "acme", "to": "prod", "map": part}}}
    return {**part, **{name: {**found, **part.get(name, {})} for name, found in NAMED.items()}}


def examples() -> list[Any]:
    """Every example in YAML, with the page and the line where it stands."""
    return [
        pytest.param(textwrap.dedent(found[1]), id=f"{file.name}:{text.count(chr(10), 0, found.start()) + 1}")
        for file in PAGES
        for text in [file.read_text(encoding="utf-8")]
        for found in re.finditer(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("example", examples())
def test_every_example_is_a_configuration_that_is_taken(example: str, tmp_path: Path) -> None:
    part = yaml.safe_load(example.replace("ca_...", "ca_1"))
    if part.keys() & ELSEWHERE:
        return
    text = re.sub(r"\$\{file:[^}]*\}", f"${{file:{tmp_path}/secret}}", json.dumps(whole(part), default=str))
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "shape.py").write_text("def transform(record): return record")
    (tmp_path / "tidegate.yaml").write_text(text)
    said = {name: SAID.get(name, "secret") for name in re.findall(r"\$\{(\w+)\}", text)}
    found = config.load(tmp_path / "tidegate.yaml", environ=said, secret=lambda _: SAID["STRIPE_API_KEY"])
    keys = {each.api_key.get_secret_value() for each in found.stripe.values() if each.api_key}
    assert keys == {SAID["STRIPE_API_KEY"]}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_commands_in_examples_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for line in re.findall(r"^(?: {4,}|\$ )(?:\./dev )?tidegate (?!-|ARGS)(\S+)", text, re.MULTILINE):
        assert line in cli.COMMANDS
