"""Whatever a command does, a route does: each with all its options, in docs/api.md and in the description."""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from signing import Signed

from tidegate import cli
from tidegate.engine import place as places

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("\n## Commands and routes\n")[2].partition("\n## ")[0]

MACHINE = {"init", "run", "worker", "sandbox", "demo"}
"""Commands of the machine itself."""
PERSON = {"secret key", "user password"}
"""What is typed, or read, by a person alone."""
SCREEN = {"config_file", "json", "as_json", "yes"}
"""Options of files, of what is printed and of who is asked; a program says what it means at once."""
UNWRITTEN = {
    *("api_key", "api_base", "to", "schema", "streams", "account", "account_id"),
    *("start_date", "lookback", "budget", "rate_limit"),
}
"""Options that stand for a configuration; over HTTP a connection, a warehouse or a pull is tried or made."""

ROUTES: Mapping[str, Mapping[str, str]] = {
    "check": {"names": "check.name"} | dict.fromkeys(UNWRITTEN, "testDraftAccount.body"),
    "account": {
        "sign-in": "answerConsent",
        "disconnect": "disconnectAccount",
        "connection": "askConsent.name",
        "write": "askConsent.write",
        "back": "askConsent.back",
    },
    "streams": {"pattern": "listStreams.search"},
    "pull": {
        "names": "startFlow.flow",
        "full_refresh": "startFlow.full_refresh",
        "accept_deletes": "startFlow.accept_deletes",
        "dry_run": "startEstimate.pull",
        "loaded": "listTables",
        **dict.fromkeys(("watch", "every", *UNWRITTEN), "putPart.body"),
    },
    "pipelines": {},
    "pipeline": {
        "run": "startFlow",
        "preview": "tryPipeline",
        "test": "tryPipelineCases",
        "failures": "listPipelineFailures",
        "retry": "retryPipelineFailures",
        "versions": "listPipelineVersions",
        "restore": "restorePipelineVersion",
        "name": "tryPipelineCases.name",
        "version": "restorePipelineVersion.number",
        "full": "startFlow.full_refresh",
        "approve": "startFlow.approve",
        "limit": "tryPipeline.limit",
        "id": "tryPipeline.ids",
        "diff": "comparePipelineVersions.against",
        "write": "restorePipelineVersion",
    },
    "customers": {
        "list": "listCustomers.search",
        "show": "getCustomer.id",
        "why": "explainCustomers.one",
        **dict.fromkeys(("merge", "apart", "split"), "decideCustomers.action"),
        "withdraw": "withdrawDecision.decision",
        "decisions": "listDecisions",
        "preview": "previewRules",
        "ids": "explainCustomers.other",
        "warehouse": "listCustomers.warehouse",
        "limit": "listCustomers.limit",
        "after": "listCustomers.after",
        "records": "decideCustomers.records",
        "identifiers": "previewRules.identifiers",
        "max_cluster": "previewRules.max_cluster",
        "withdrawn": "listDecisions.withdrawn",
        "note": "decideCustomers.note",
        "by": "createToken.name",
        "now": "withdrawDecision.now",
    },
    "plan": {
        "push": "makePlan.push",
        "repair": "makePlan.repair",
        "out": "listPlanRows",
        "all": "listPlanRows.kind",
    },
    "push": {
        "push": "makePlan.push",
        "plan": "approvePlan.plan",
        "approve": "approvePlan.digest",
        "limit": "makePlan.limit",
        "verify": "startVerification.push",
        "repair": "makePlan.repair",
        "rehearse": "startRehearsal.push",
        "connection": "startRehearsal.connection",
        "sandbox": "startRehearsal",
        "out": "listJobRows",
    },
    "inbox": {
        "push": "listIssues.flow",
        "key": "getHeldRow.key",
        "kind": "listIssues.kind",
        "retry": "decideRow.decision",
        "skip": "decideRow.decision",
        "choose": "decideRow.choice",
        "all": "decideRows.kind",
        "limit": "listIssues.limit",
        "after": "listIssues.after",
    },
    "undo": {
        "push": "planUndo.push",
        "run": "planUndo.run",
        "key": "planUndo.keys",
        "created": "planUndo.created",
        "out": "listPlanRows",
        "dry_run": "planUndo",
        "approve": "approvePlan.digest",
        "limit": "planUndo.limit",
    },
    "record": {"push": "findOperation.operation", "key": "getRecord.key"},
    "audit": {
        "names": "startAudit.pull",
        "stream": "startAudit.streams",
        "since": "startAudit.since",
        "repair": "startAudit.repair",
        **dict.fromkeys(UNWRITTEN, "putPart.body"),
    },
    "forget": {
        "customers": "startForget.customers",
        "account": "startForget.account",
        "dry_run": "startForget.dry_run",
        **dict.fromkeys(("to", "schema"), "putPart.body"),
    },
    "status": dict.fromkeys(("to", "schema"), "putPart.body"),
    "runs": {"flow": "listRuns.flow", "failed": "listRuns.state", "limit": "listRuns.limit"},
    "logs": {"run": "listLines.run", "follow": "followRun.run"},
    "start": {
        "flow": "startFlow.flow",
        "full_refresh": "startFlow.full_refresh",
        "limit": "startFlow.limit",
    },
    "cancel": {"run": "cancelRun.run"},
    "retry": {"run": "retryRun.run"},
    "alerts": {"open": "listAlerts", "test": "testAlerts", "ended": "listAlerts.ended"},
    "export": {"to": "exportConfiguration"},
    "apply": {
        "file": "applyConfiguration.yaml",
        "dry_run": "applyConfiguration.dry_run",
        "prune": "applyConfiguration.prune",
    },
    "changes": {
        "what": "listChanges.what",
        "who": "listChanges.who",
        "action": "listChanges.action",
        "since": "listChanges.since",
        "limit": "listChanges.limit",
    },
    "secret": {
        "set": "putSecret.value",
        "list": "listSecrets",
        "rm": "deleteSecret.name",
        "rotate": "rotateSecrets",
        "name": "putSecret.name",
    },
    "token": {
        "create": "createToken",
        "list": "listTokens",
        "revoke": "revokeToken.name",
        "name": "createToken.name",
        "scope": "createToken.scope",
        "flow": "createToken.flows",
        "expires": "createToken.lasts",
    },
    "user": {
        "add": "inviteMember",
        "list": "listMembers",
        "remove": "removeMember.name",
        "link": "linkMember.name",
        **dict.fromkeys(("disable", "enable"), "changeMember.disabled"),
        "name": "inviteMember.name",
        "role": "changeMember.role",
        "url": "linkMember",
    },
    "webhooks": {
        "enable": "enableWebhooks",
        "disable": "disableWebhooks",
        "list": "getWebhooks.ask",
        "replay": "replayWebhooks",
        "test": "testWebhooks.url",
        "connection": "getWebhooks.name",
        "url": "enableWebhooks.url",
        "rotate": "enableWebhooks.rotate",
        "since": "replayWebhooks.since",
    },
    "preview": {
        "stream": "previewStream.stream",
        "connection": "previewStream.connection",
        "limit": "previewStream.limit",
        "columns": "previewStream",
        **dict.fromkeys(("api_key", "api_base"), "putPart.body"),
    },
    "schema": {"stream": "getSchema.stream", "pull": "getSchema.pull", "to": "getSchema.to"},
}
"""Of each option and action of a command the operation that does the same, and its parameter or field."""


@pytest.fixture
def document(place: places.Place, tokened: Signed) -> dict[str, Any]:
    found: dict[str, Any] = tokened(place, "read").get("/api/v1/openapi.json").json
    return found


def takes(document: Mapping[str, Any]) -> dict[str, set[str]]:
    """What each operation takes: its parameters, and the fields of its body."""
    found = {}
    for operations in document["paths"].values():
        for operation in operations.values():
            names = {each["name"] for each in operation.get("parameters", ())}
            for content in operation.get("requestBody", {}).get("content", {}).values():
                name = content["schema"]["$ref"].rpartition("/")[2]
                names |= set(document["components"]["schemas"][name]["properties"])
            found[operation["operationId"]] = names
    return found


def shape(path: str) -> str:
    """An address without its names: those of the page are in capitals, those of the description in braces."""
    return re.sub(r"/(\{\w+\}|[^/]*[A-Z][^/]*)", "/*", path.removeprefix("/api/v1"))


def options(command: str) -> set[str]:
    """What a command can be told, and in the place of an action each one that there is."""
    function = getattr(importlib.import_module(f"tidegate.cli.{command}"), command)
    found = set(inspect.signature(function).parameters) - SCREEN
    for name in {"action", "what"} & found:
        kind = typing.get_type_hints(function)[name]
        if typing.get_origin(kind) is typing.Literal:
            choices = typing.get_args(kind)
            found = found - {name} | {each for each in choices if f"{command} {each}" not in PERSON}
    return found


def test_each_option_has_a_parameter(document: Mapping[str, Any]) -> None:
    known = takes(document)
    assert ROUTES.keys() | MACHINE == cli.COMMANDS.keys()
    for command, routes in ROUTES.items():
        told = options(command)
        assert told <= routes.keys(), f"{command}: give each option a route"
        assert routes.keys() <= told | UNWRITTEN, f"{command}: an option is gone"
        for option, route in routes.items():
            operation, _, name = route.partition(".")
            assert operation in known, f"{command} {option}"
            assert not name or name in known[operation], f"{command} {option}: {route}"


def rows() -> Iterator[tuple[list[str], list[str]]]:
    """Commands and routes of each line of the table."""
    for line in TABLE.splitlines():
        if line.startswith("| [`"):
            _, commands, routes, _ = line.split("|")
            yield re.findall(r"\(cli\.md#(\w+)\)", commands), re.findall(r"`(/\S+)`", routes)


def test_the_page_names_a_route_of_each_command(document: Mapping[str, Any]) -> None:
    known = {shape(path) for path in document["paths"]}
    named = [command for commands, _ in rows() for command in commands]
    assert sorted(named) == sorted(cli.COMMANDS.keys() - MACHINE)
    for commands, routes in rows():
        assert routes, commands
        assert {shape(path) for path in routes} <= known, commands
    rest = TABLE.rpartition("|\n")[2]
    assert {each for each in re.findall(r"`(\w+)`", rest) if each in cli.COMMANDS} == MACHINE
