"""Alerts: open ones first, found by words, and whether they reach anybody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hearing
import pytest
import seen

from tidegate import errors, views
from tidegate.engine import place as places
from tidegate.store import notices, trail
from tidegate.views import alerts

FLOW = "pull:everything"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    with seen.place(seen.written(tmp_path)) as found:
        yield found


def opened(place: places.Place, *names: str) -> None:
    matters = [
        notices.Matter(f"{FLOW}/stream/acct_1/{n}", "stream", FLOW, f"{n} could not be read.") for n in names
    ]
    notices.settle(place.store, FLOW, matters, ("stream",))


def test_open_alerts_stand_before_those_that_ended(place: places.Place) -> None:
    opened(place, "charges", "payouts")
    opened(place, "payouts")
    assert [each.title for each in alerts.listed(place).items] == [
        "pull:everything could not read all of payouts"
    ]
    both = alerts.listed(place, ended=True).items
    assert [each.notice.resolved_at is None for each in both] == [True, False]


def test_alerts_are_found_by_words_kind_and_flow(place: places.Place) -> None:
    opened(place, "charges", "payouts", "refunds")
    assert alerts.listed(place, search="PAYOUTS").total == 1
    assert alerts.listed(place, kind="failed").total == 0
    assert alerts.listed(place, flow=FLOW).total == 3
    first = alerts.listed(place, limit=2)
    assert (len(first.items), first.next) == (2, 2)
    assert alerts.listed(place, limit=2, after=2).next is None


def test_who_was_told_and_where_that_failed(place: places.Place) -> None:
    opened(place, "charges")
    [alert] = alerts.listed(place).items
    assert alert.told == "nobody"
    at = alert.notice.opened_at
    notices.note(place.store, "slack", {alert.notice.matter: notices.Telling(opened=at)})
    notices.note(place.store, "email", {alert.notice.matter: notices.Telling(tries=2, error="refused")})
    [alert] = alerts.listed(place).items
    assert alert.told == "email fails, slack"
    assert alerts.described(alert.notice)["told"]["email"] == {"tries": 2, "error": "refused"}


def test_without_channels_nobody_can_be_told(place: places.Place) -> None:
    assert alerts.targets(place) == []
    with pytest.raises(errors.ConfigError, match="add slack, email or webhook"):
        alerts.test(place.file)


def test_targets_hide_what_lets_others_tell_too(tmp_path: Path) -> None:
    more = (
        "alerts:\n"
        "  slack: {webhook: 'https://hooks.slack.com/services/T0/B0/geheim'}\n"
        "  webhook: {url: 'https://ops.example.com/geheim', secret: geheim}\n"
        "  email: {to: [ops@example.com, b@example.com], smtp: 'smtp://u:geheim@mail.example.com', "
        "from: t@example.com}\n"
    )
    with seen.place(seen.written(tmp_path, more=more)) as place:
        opened(place, "charges")
        [alert] = alerts.listed(place).items
        notices.note(
            place.store, "slack", {alert.notice.matter: notices.Telling(tries=1, tried=1.0, error="no")}
        )
        found = alerts.targets(place)
    assert [(each.name, each.where) for each in found] == [
        ("email", "ops@example.com and 1 more by mail.example.com"),
        ("slack", "hooks.slack.com"),
        ("webhook", "ops.example.com"),
    ]
    assert [each.error for each in found] == ["", "no", ""]
    assert "geheim" not in str(found)


def test_a_test_message_arrives_and_is_noted(tmp_path: Path) -> None:
    with hearing.hook() as ear:
        more = f"alerts: {{webhook: {{url: '{ear.url}'}}, slack: {{webhook: 'http://127.0.0.1:1/x'}}}}"
        with seen.place(seen.written(tmp_path, more=more)) as place:
            found = {each.channel: each.error for each in alerts.test_as(place, views.Person("ann"))}
            [line] = trail.listed(place.store)
    assert found["webhook"] == ""
    assert found["slack"]
    assert (line.who, line.action, line.what) == ("ann", "test", "alerts")
