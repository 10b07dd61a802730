"""The docs say what the code says: every command, flag, configuration key, exit code and stream outcome."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_commands_in_examples_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for line in re.findall(r"^(?: {4,}|\$ )(?:\./dev )?tidegate (?!-|ARGS)(\S+)", text, re.MULTILINE):
        assert line in cli.COMMANDS
