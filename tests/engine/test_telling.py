"""Messages reach a real mail server and a real address, signed and readable, and say so when they do not."""

from __future__ import annotations

import json
import re
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hearing
import pytest

from tidegate.config import alerts
from tidegate.engine import telling
from tidegate.store import notices

DOCS = Path(__file__).parents[2] / "docs"
BEGAN = 1_790_000_000.25


def notice(matter: str = "pull:everything/failed", **values: Any) -> notices.Notice:
    flow, kind, *_ = matter.split("/")
    text = "pull:everything: the run failed: Stripe rejected the key. `tidegate logs run_1` shows more."
    given = {"flow": flow, "text": text, "opened_at": BEGAN, "seen_at": BEGAN, **values}
    return notices.Notice(matter=matter, kind=kind, **given)


OPENED = telling.Message("opened", (notice(),))


@pytest.fixture
def hook() -> Iterator[hearing.Hook]:
    with hearing.hook() as found:
        yield found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hearing.certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


def mail(
    port: int, *, scheme: str = "smtp", password: str = hearing.PASSWORD, **values: Any
) -> telling.Email:
    login = f"{urllib.parse.quote(hearing.USER, safe='')}:{urllib.parse.quote(password, safe='')}@"
    url = f"{scheme}://{login}127.0.0.1:{port}"
    settings = {"to": ["a@example.com", "b@example.org"], "smtp": url, "from": "tidegate@example.com"}
    return telling.Email(alerts.Email.model_validate({**settings, **values}))


def slack(url: str) -> telling.Slack:
    return telling.Slack(alerts.Slack.model_validate({"webhook": url}))


def own(url: str, secret: str | None = None) -> telling.Webhook:
    return telling.Webhook(alerts.Webhook.model_validate({"url": url, "secret": secret}))


def test_a_mail_goes_over_starttls_with_a_password_to_every_recipient(trusted: Path) -> None:
    with hearing.post(trusted) as post:
        assert mail(post.port).send(OPENED) == ""
    [letter], [recipients] = post.letters, post.recipients
    assert post.signed_in == [hearing.USER]
    assert recipients == ["a@example.com", "b@example.org"]
    assert letter["To"] == "a@example.com, b@example.org"
    assert letter["From"] == "tidegate@example.com"
    assert letter["Subject"] == "[Tidegate] pull:everything failed"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter.get_content_type() == "text/plain"
    assert letter.get_content().strip() == (
        "pull:everything: the run failed: Stripe rejected the key. `tidegate logs run_1` shows more. "
        "Since 2026-09-21 14:13 UTC."
    )


def test_a_mail_goes_over_tls_from_the_first_byte(trusted: Path) -> None:
    with hearing.post(trusted, whole=True) as post:
        assert mail(post.port, scheme="smtps").send(OPENED) == ""
    assert len(post.letters) == 1


def test_a_relay_without_encryption_is_used_when_it_is_said_so() -> None:
    with hearing.post(None) as post:
        mail(0, smtp=f"smtp://127.0.0.1:{post.port}?tls=off").send(OPENED)
        assert len(post.letters) == 1
        with pytest.raises(telling.NotTold, match="offers no STARTTLS"):
            mail(0, smtp=f"smtp://127.0.0.1:{post.port}").send(OPENED)
    assert len(post.letters) == 1


def test_a_password_is_never_sent_to_a_server_whose_certificate_is_not_trusted(certificate: Path) -> None:
    with (
        hearing.post(certificate) as post,
        pytest.raises(telling.NotTold, match="certificate is not trusted"),
    ):
        mail(post.port).send(OPENED)
    assert post.signed_in == []


def test_messages_about_a_matter_are_a_thread_and_a_repeated_one_has_the_same_id(trusted: Path) -> None:
    resolved = telling.Message("resolved", (notice(resolved_at=BEGAN + 3600),), BEGAN)
    other = telling.Message("opened", (notice("pull:other/failed"),))
    with hearing.post(trusted) as post:
        for message in (OPENED, OPENED, resolved, other):
            mail(post.port).send(message)
    first, again, end, apart = post.letters
    assert first["Message-ID"] == again["Message-ID"]
    assert len({first["Message-ID"], end["Message-ID"], apart["Message-ID"]}) == 3
    assert first["References"] == end["References"] == end["In-Reply-To"] != apart["References"]
    assert re.fullmatch(r"<[0-9a-f]{32}\.matter@example\.com>", first["References"])
    assert end["Subject"] == "[Tidegate] Resolved: pull:everything failed"
    assert "gone since 2026-09-21 15:13 UTC" in end.get_content()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ({"refuse": ["a@example.com", "b@example.org"]}, r"refused every recipient \(550\)"),
        (
            {"broken": "554 5.7.1 mail of Ada Lovelace <ada@example.com> is spam"},
            r"refused the message \(554 5\.7\.1\)",
        ),
        ({"broken": "451 4.3.0 later"}, r"refused the message \(451 4\.3\.0\)"),
    ],
)
def test_what_a_mail_server_refuses_is_said_without_its_words(
    trusted: Path, trouble: dict[str, Any], said: str
) -> None:
    with hearing.post(trusted) as post:
        for name, value in trouble.items():
            setattr(post, name, value)
        with pytest.raises(telling.NotTold, match=said) as raised:
            mail(post.port).send(OPENED)
    assert "Ada" not in str(raised.value)
    assert "@" not in str(raised.value)


def test_one_refused_recipient_is_said_and_the_others_are_told(trusted: Path) -> None:
    with hearing.post(trusted) as post:
        post.refuse = ["a@example.com"]
        assert mail(post.port).send(OPENED) == "127.0.0.1 refused 1 of 2 recipients; look at `to`."
    assert post.recipients == [["b@example.org"]]


def test_a_wrong_password_is_said_and_not_shown(trusted: Path) -> None:
    with (
        hearing.post(trusted) as post,
        pytest.raises(telling.NotTold, match=r"user or the password \(535") as raised,
    ):
        mail(post.port, password="geheim").send(OPENED)
    assert "geheim" not in str(raised.value)
    assert post.letters == []


def test_nobody_who_answers_is_said_of_every_channel() -> None:
    with hearing.hook() as gone:
        pass
    port = urllib.parse.urlsplit(gone.url).port or 0
    for channel in (mail(port), slack(gone.url), own(gone.url)):
        with pytest.raises(telling.NotTold, match=r"127\.0\.0\.1") as raised:
            channel.send(OPENED)
        assert "geheim" not in str(raised.value)


def test_slack_gets_text_and_blocks_in_which_nothing_calls_anybody(hook: hearing.Hook) -> None:
    text = "pull:everything: <!channel> said a & b > c."
    slack(hook.url).send(telling.Message("opened", (notice(text=text),)))
    [heard] = hook.heard
    assert heard.headers["Content-Type"] == "application/json"
    assert heard.json["text"] == "pull:everything failed"
    shown = [block["text"]["text"] for block in heard.json["blocks"]]
    assert shown == [
        ":warning: *pull:everything failed*",
        "pull:everything: &lt;!channel&gt; said a &amp; b &gt; c. Since 2026-09-21 14:13 UTC.",
    ]
    assert telling.SIGNATURE not in heard.headers


def test_a_webhook_of_ones_own_gets_everything(hook: hearing.Hook) -> None:
    own(hook.url).send(telling.Message("resolved", (notice(resolved_at=BEGAN + 60),)))
    found = hook.heard[0].json
    assert re.fullmatch("[0-9a-f]{32}", found.pop("id"))
    assert found == {
        "event": "resolved",
        "text": "Resolved: pull:everything failed",
        "matters": [
            {
                "matter": "pull:everything/failed",
                "kind": "failed",
                "flow": "pull:everything",
                "title": "pull:everything failed",
                "text": notice().text,
                "opened_at": 1790000000.25,
                "resolved_at": 1790000060.25,
            }
        ],
    }


def documented(name: str) -> dict[str, Any]:
    """What the documentation's Python defines."""
    text = (DOCS / "alerts.md").read_text(encoding="utf-8")
    [code] = [part for part in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if f"def {name}(" in part]
    found: dict[str, Any] = {}
    exec(code, found)
    return found


def test_a_signature_is_verified_as_the_documentation_shows(hook: hearing.Hook) -> None:
    verify = documented("verify")["verify"]
    own(hook.url, "s3cret").send(OPENED)
    [heard] = hook.heard
    header = heard.headers[telling.SIGNATURE]
    assert re.fullmatch(r"t=\d+,v1=[0-9a-f]{64}", header)
    assert verify(header, heard.body, "s3cret")
    assert not verify(header, heard.body, "another")
    assert not verify(header, heard.body.replace(b"opened", b"closed"), "s3cret")
    old = telling.signature("s3cret", heard.body, time.time() - 3_600)
    assert not verify(old, heard.body, "s3cret")
    assert not verify("", heard.body, "s3cret")


def test_a_signature_is_made_as_stripe_makes_its_own(hook: hearing.Hook) -> None:
    import stripe

    telling.Slack(alerts.Slack.model_validate({"webhook": hook.url, "secret": "s3cret"})).send(OPENED)
    [heard] = hook.heard
    assert stripe.WebhookSignature.verify_header(
        heard.body.decode(), heard.headers[telling.SIGNATURE], "s3cret", tolerance=300
    )


@pytest.mark.parametrize(
    ("answer", "said", "wait"),
    [
        ((404, {}, b"no_service"), "127.0.0.1 refused the message with status 404, no_service", 0),
        ((500, {}, b"<html>Ada Lovelace"), "127.0.0.1 refused the message with status 500; look", 0),
        ((429, {"Retry-After": "30"}, b""), "status 429", 30),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "status 302", 0),
    ],
)
def test_what_an_address_refuses_is_said(hook: hearing.Hook, answer: Any, said: str, wait: float) -> None:
    hook.answer = lambda _: answer
    with pytest.raises(telling.NotTold, match=re.escape(said)) as raised:
        slack(hook.url).send(OPENED)
    assert raised.value.wait == wait
    assert "geheim" not in str(raised.value)
    assert len(hook.heard) == 1


def test_https_needs_a_certificate_that_is_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hearing.post(certificate, whole=True) as post:
        with pytest.raises(telling.NotTold, match="its certificate is not trusted"):
            own(f"https://127.0.0.1:{post.port}/").send(OPENED)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ssl.create_default_context().cert_store_stats()["x509"] >= 1
        with pytest.raises(telling.NotTold, match="there was no answer"):  # it speaks SMTP
            own(f"https://127.0.0.1:{post.port}/").send(OPENED)


def test_many_matters_are_one_message_that_names_some() -> None:
    many = tuple(notice(f"pull:everything/no_permission/acct_1/s{n}") for n in range(50))
    message = telling.Message("opened", many)
    assert telling.subject(message) == "pull:everything may not read s0, and 49 more"
    found = telling.lines(message)
    assert len(found) == telling.SHOWN + 1
    assert found[-1] == "And 30 more; `tidegate alerts` lists them all."
    assert len(telling.blocks(message)["blocks"]) <= 50


def test_a_subject_cannot_carry_a_header_of_its_own() -> None:
    nasty = notice("pull:x/failed", flow="pull:x\r\nBcc: eve@example.com")
    with pytest.raises(ValueError, match="linefeed"):
        telling.letter(telling.Message("opened", (nasty,)), "a@example.com", ["b@example.com"])


def test_a_message_for_slack_is_json_whatever_it_says() -> None:
    found = telling.blocks(telling.Message("reminder", (notice(text='"\\ \u2028 ☃' * 3_000),)))
    assert json.loads(json.dumps(found)) == found
    assert all(len(block["text"]["text"]) <= 3_000 for block in found["blocks"])
    assert found["text"] == "Still: pull:everything failed"
