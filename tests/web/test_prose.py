"""Sentences on pages: what was a command leads to the page that does it, and nothing in them is HTML."""

from __future__ import annotations

import re

import markupsafe
import pytest

from tidegate import config
from tidegate.engine import matters, unwritten
from tidegate.store import holds, runs
from tidegate.web import addresses, mending, prose

RUN = "run_0123456789abcdef"


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        (
            f"It failed. `tidegate logs {RUN}` shows more.",
            f'It failed. <a href="/runs/{RUN}/log">Its log</a> shows more.',
        ),
        (
            "`tidegate plan people` shows it; `tidegate push people --approve` does it.",
            '<a href="/syncs/people/plan">Its plan</a> shows it; '
            '<a href="/syncs/people/plan">approving that</a> does it.',
        ),
        (
            "Begun by hand; `tidegate push people` goes on.",
            'Begun by hand; <a href="/syncs/people/plan">a new plan</a> goes on.',
        ),
        (
            "Of theirs; run `tidegate push people`, then forget them once more.",
            'Of theirs; <a href="/syncs/people/plan">make a new plan</a>, then forget them once more.',
        ),
        (
            "Look there, and run `tidegate webhooks enable acme` again.",
            'Look there, and <a href="/accounts/acme/webhooks">bring it up to date</a>.',
        ),
        (
            "3 rows in quarantine; `tidegate pipeline failures people` lists why.",
            '3 rows in quarantine; <a href="/pipelines/people/failures">its quarantine</a> lists why.',
        ),
        (
            f"pull:x has a run already ({RUN}); wait until it is done, or `tidegate cancel` it.",
            f'pull:x has a run already (<a href="/runs/{RUN}">{RUN}</a>); wait until it is done, or cancel it.',
        ),
        ("Lower `budget` of it.", "Lower <code>budget</code> of it."),
        ("Is `tidegate run` up?", "Is <code>tidegate run</code> up?"),
        ("As it was.", "As it was."),
    ],
)
def test_a_command_leads_to_the_page_that_does_it(sentence: str, told: str) -> None:
    assert prose.shown(sentence) == told


def test_rows_that_are_held_are_let_go_on_the_page_of_their_stream() -> None:
    sentence = "If they are really gone, run `tidegate pull --accept-deletes charges`."
    assert prose.shown(sentence, flow="pull:everything") == (
        'If they are really gone, <a href="/streams/everything/charges">accept the deletes</a>.'
    )
    assert '<a href="/streams?search=charges">' in prose.shown(sentence)


def test_requests_lead_to_the_dashboard_where_it_is_known() -> None:
    sentence = "Refused (req_A1b2C3d4E5f6)."
    assert prose.shown(sentence) == sentence
    assert prose.shown(sentence, requests="https://dashboard.stripe.com/logs/") == (
        'Refused (<a href="https://dashboard.stripe.com/logs/req_A1b2C3d4E5f6" rel="noreferrer" '
        'target="_blank">req_A1b2C3d4E5f6</a>).'
    )


def test_what_others_wrote_is_never_html_and_leads_nowhere_else() -> None:
    hostile = '<b>x</b> `tidegate logs ../../account` `tidegate plan "><i>` `<script>`'
    shown = prose.shown(hostile)
    assert re.findall(r"<(\w+)", shown) == ["code", "code", "code"]
    assert "&lt;b&gt;" in shown
    assert prose.shown(markupsafe.Markup("<b>ours</b>")) == "<b>ours</b>"


@pytest.mark.parametrize(
    ("flow", "url"),
    [
        ("pull:everything", "/streams/everything"),
        ("pipeline:people", "/pipelines/people"),
        ("push:people", "/syncs/people"),
        ("", "/runs"),
    ],
)
def test_a_flow_has_a_page_of_its_own(flow: str, url: str) -> None:
    assert addresses.flow(flow) == url


def told() -> list[tuple[str, str, str, str]]:
    """Kind, name, flow and text of matters as the engine tells them."""
    run = runs.Run(RUN, "push:people", "partial", "schedule", 0.0, 0.0, totals={"guards": ["Too many."]})
    counts: dict[tuple[holds.Kind, holds.State], int] = {("conflict", "held"): 2, ("invalid", "held"): 1}
    found = [*matters.of_run(run, []), *unwritten.of_rows("push:people", counts, 1)]
    found += [*matters.of_endpoints({"acme": "disabled"}), matters.of_silence("acme")]
    table = {"stream": "charges", "account": "acct_1", "status": "no_permission", "error": "Refused."}
    pull = runs.Run(RUN, "pull:everything", "failed", "schedule", 0.0, 0.0, error="Away.")
    found += matters.of_run(pull, [table], ["acct_1: Too long ago; " + matters.GAP])
    return [(each.kind, each.name, each.flow, each.text) for each in found]


def test_every_alert_leads_to_where_it_is_mended() -> None:
    file = config.Config.model_validate(
        {
            "stripe": {"acme": {"api_key": "rk_test_123456789012"}},
            "warehouses": {"local": {"type": "duckdb", "path": "w.duckdb"}},
            "pulls": {"everything": {"from": "acme", "to": "local"}},
        }
    )
    assert {kind: mending.of(file, kind, name, flow, text).url for kind, name, flow, text in told()} == {
        "approval": "/syncs/people/plan",
        "held": "/issues?flow=push%3Apeople",
        "quarantine": "/issues?flow=push%3Apeople",
        "unknown": "/issues?flow=push%3Apeople",
        "endpoint": "/accounts/acme/webhooks",
        "silence": "/accounts/acme/webhooks",
        "failed": f"/runs/{RUN}",
        "no_permission": "/accounts/acme",
        "gap": f"/runs/{RUN}",
    }
    assert all(mending.kind_of(name, flow) == kind for kind, name, flow, _ in told())
    assert all(kind in mending.KINDS for kind, *_ in told())


def test_no_alert_names_a_command_on_a_page() -> None:
    for _, _, flow, text in told():
        assert "tidegate" not in prose.shown(text, flow=flow), text


def test_a_connection_that_stripe_refuses_is_signed_in_again_by_editors() -> None:
    file = config.Config()
    for kind, matter, url in (
        ("key", "key/acme/1a2b", "/accounts/acme/edit"),
        ("sign_in", "sign_in/acme/1a2b", "/accounts/acme/consent"),
        ("consent", "consent/acme", "/accounts/acme/consent"),
    ):
        found = mending.of(file, kind, matter, "", "")
        assert (found.url, found.scope) == (url, "write")
        assert mending.subject(kind, matter, "") == "acme"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("the key was refused (401); make another one.", "The key was refused (401); make another one."),
        (
            "157 rows are in quarantine; `tidegate pipeline failures eu` lists why.",
            "157 rows are in quarantine.",
        ),
        (
            "waits for approval: 1 object would be created; 0 are allowed (guard.max_creates). "
            "`tidegate plan eu` shows it all; `tidegate push eu --approve` does it.",
            "Waits for approval: 1 object would be created; 0 are allowed (guard.max_creates).",
        ),
        (
            "900 of the 1,000 customers would leave; nothing was changed. Look at the filter, then run "
            "`tidegate pipeline run eu --approve`.",
            "900 of the 1,000 customers would leave; nothing was changed.",
        ),
        ("Read `proration_behavior` of the field.", "Read `proration_behavior` of the field."),
    ],
)
def test_commands_are_for_terminals(text: str, shown: str) -> None:
    assert prose.plain(text) == shown
