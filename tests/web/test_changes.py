"""The audit log and the secrets as pages: for admins, by address, and without a value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import managing
import pytest
from managing import CONNECTION, PULL
from signing import Client, Signed

from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import secrets, trail

LOG, SECRETS = "/settings/changes", "/settings/secrets"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    url = f"sqlite:///{tmp_path}/tidegate.db"
    with managing.placed(managing.written(tmp_path, url), url) as found:
        yield found


@pytest.fixture
def admin(place: places.Place, signed: Signed) -> Client:
    found: Client = signed(place, "admin")
    return found


class TestLog:
    def test_a_change_is_a_row_that_leads_to_what_was_before_and_after(
        self, place: places.Place, admin: Client
    ) -> None:
        seen = managing.make(place, "pulls", "more", PULL).version
        editing.change(place, "ben", "pulls", "more", {**PULL, "lookback": "3d"}, seen, via="token")
        page = admin.get(LOG).text
        number = trail.listed(place.store)[0].number
        assert f'href="{LOG}/{number}"' in page
        assert "pulls.more" in page
        assert "API token" in page
        one = admin.get(f"{LOG}/{number}").text
        assert "lookback" in one
        assert "3d" in one
        assert "ben" in one

    def test_a_change_leads_to_what_was_changed_while_that_is_there(
        self, place: places.Place, admin: Client
    ) -> None:
        seen = managing.make(place, "pulls", "more", PULL).version
        number = trail.listed(place.store)[0].number
        place.look()
        page = admin.get(f"{LOG}/{number}").text
        assert 'href="/streams/more"' in page
        assert f'href="{LOG}?what=pulls.more"' in page
        editing.change(place, "ben", "pulls", "more", None, seen)
        place.look()
        assert 'href="/streams/more"' not in admin.get(f"{LOG}/{number}").text
        trail.note(place.store, "ben", "start", "pull:gone", None, {"run": "run_1"})
        number = trail.listed(place.store)[0].number
        assert "/streams/gone" not in admin.get(f"{LOG}/{number}").text

    def test_it_is_narrowed_to_the_last_days(self, place: places.Place, admin: Client) -> None:
        trail.note(place.store, "ann", "create", "models.old", None, {"n": 1})
        place.store.execute("UPDATE trail SET at = at - 172800 WHERE what = 'models.old'")
        trail.note(place.store, "ann", "create", "models.new", None, {"n": 1})
        assert "models.old" in admin.get(f"{LOG}?since=7d").text
        today = admin.get(f"{LOG}?since=24h").text
        assert "models.new" in today
        assert "models.old" not in today
        assert "models.old" not in admin.get(f"{LOG}?since=24h&format=csv").text

    def test_of_a_secret_four_characters_are_shown(self, place: places.Place, admin: Client) -> None:
        managing.make(place, "stripe", "other", CONNECTION)
        page = admin.get(f"{LOG}/{trail.listed(place.store)[0].number}").text
        assert "secret ...6789" in page
        assert managing.KEY not in page

    def test_it_is_searched_filtered_paged_and_written_as_csv_by_its_address(
        self, place: places.Place, admin: Client
    ) -> None:
        for n in range(60):
            trail.note(place.store, "ann", "create" if n % 2 else "delete", f"models.m{n:02}", None, {"n": n})
        first = admin.get(LOG).text
        assert "models.m59" in first
        assert "models.m05" not in first
        last = trail.listed(place.store, limit=50)[-1].number
        assert f"after={last}" in first
        assert "models.m05" in admin.get(f"{LOG}?after={last}").text
        assert "models.m05" in admin.get(f"{LOG}?search=M05").text
        some = admin.get(f"{LOG}?action=delete&search=models.m1").text
        assert "models.m10" in some
        assert "models.m11" not in some
        csv = admin.get(f"{LOG}?format=csv&action=create").text.splitlines()
        assert csv[0] == "number,at,who,via,action,what,field,before,after"
        assert len(csv) == 31
        assert csv[1].endswith(",ann,,create,models.m59,n,,59")
        assert "Nothing matches." in admin.get(f"{LOG}?search=nobody").text

    @pytest.mark.parametrize("number", ["999999", "0", "99999999999999999999999"])
    def test_a_line_that_is_not_there_is_said_so(self, admin: Client, number: str) -> None:
        assert admin.get(f"{LOG}/{number}").status == 404

    @pytest.mark.parametrize("role", ["viewer", "operator", "editor"])
    def test_it_is_for_admins(self, place: places.Place, signed: Signed, role: str) -> None:
        client = signed(place, role)
        for path in (LOG, f"{LOG}?format=csv", f"{LOG}/1", SECRETS):
            assert client.get(path).status == 403
        assert client.post(SECRETS, {"name": "x", "value": "y"}).status == 403
        assert secrets.names(place.store) == {}


class TestSecrets:
    def test_one_is_set_used_and_never_shown(self, place: places.Place, admin: Client) -> None:
        assert "No secrets yet." in admin.get(SECRETS).text
        done = admin.post(SECRETS, {"name": "team/key", "value": "geheim-und-lang"})
        assert (done.status, done.headers["location"]) == (303, SECRETS)
        body = {"api_key": "${secret:team/key}"}
        editing.change(place, "root", "stripe", "other", body, None, admin=True)
        page = admin.get(SECRETS).text
        assert "stripe.other" in page
        assert "geheim-und-lang" not in page
        assert admin.post(f"{SECRETS}/forget", {"name": "team/key", "words": "team/key"}).status == 409
        line = trail.listed(place.store, what="secrets")[0]
        assert (line.who, line.via, line.action) == (admin.member, "session", "create")

    def test_one_is_forgotten_when_its_name_is_typed(self, place: places.Place, admin: Client) -> None:
        admin.post(SECRETS, {"name": "mine", "value": "geheim"})
        assert admin.post(f"{SECRETS}/forget", {"name": "mine", "words": "min"}).status == 422
        assert list(secrets.names(place.store)) == ["mine"]
        assert admin.post(f"{SECRETS}/forget", {"name": "mine", "words": "mine"}).status == 303
        assert secrets.names(place.store) == {}

    @pytest.mark.parametrize(("name", "value"), [("a b", "x"), ("", "x"), ("ok", "")])
    def test_what_is_wrong_with_one_is_said_in_the_form(
        self, place: places.Place, admin: Client, name: str, value: str
    ) -> None:
        answer = admin.post(SECRETS, {"name": name, "value": value})
        assert answer.status == 422
        assert 'class="error"' in answer.text
        assert secrets.names(place.store) == {}
