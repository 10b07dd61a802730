"""The channels on which people are told: e-mail, a Slack-compatible webhook, and a webhook of one's own.

A channel sends one message and raises `NotTold` where it cannot be sure that it arrived. No text of a server's and
no address ever stands in an error. Webhooks are signed as Stripe signs its own: the `v1` of
`X-Tidegate-Signature: t=...,v1=...` is the HMAC-SHA256, by the secret, of the time, a dot and the body.
"""

from __future__ import annotations

import email.message
import email.policy
import email.utils
import hashlib
import hmac
import http.client
import json
import re
import smtplib
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pydantic

from tidegate import __version__, config, errors
from tidegate.config import alerts as configured
from tidegate.config import channels as notations
from tidegate.engine import matters
from tidegate.store import notices

Event = Literal["opened", "reminder", "resolved", "test"]

PATIENCE = 20.0
"""Seconds for which a server may be silent."""
SHOWN = 20
"""Matters that a message names; of more it tells how many."""
SIGNATURE = "X-Tidegate-Signature"

_ENHANCED = re.compile(rb"\b[245]\.\d{1,3}\.\d{1,3}\b")
"""The code of RFC 3463 in what a mail server says."""
_WORD = re.compile(r"[a-z_]{1,40}")
"""What Slack answers to a message that it does not take, such as `channel_is_archived`."""


class NotTold(errors.TidegateError):
    """A message may not have arrived; `wait` is for how many seconds the server asked to be left alone."""

    def __init__(self, message: str, *, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Message:
    """What is told at once: one matter, or several of one flow."""

    event: Event
    notices: tuple[notices.Notice, ...]

    turn: float = 0.0
    """When the channel was told of them last, by which one reminder differs from the next."""

    @property
    def id(self) -> str:
        """The same for the same message, however often it is sent."""
        return _digest([self.event, self.turn, [[each.matter, each.opened_at] for each in self.notices]])

    @property
    def thread(self) -> str:
        """The same for all messages about a matter."""
        return _digest(sorted(each.matter for each in self.notices))


class Channel(Protocol):
    """A way to tell people."""

    name: str

    def send(self, message: Message) -> str:
        """Send a message; returns what is to be said about it though it arrived. Raises NotTold."""


def channels(alerts: config.Alerts | None) -> list[Channel]:
    """The channels of a configuration."""
    found: list[Channel] = []
    if alerts is not None and alerts.slack is not None:
        found.append(Slack(alerts.slack))
    if alerts is not None and alerts.email is not None:
        found.append(Email(alerts.email))
    if alerts is not None and alerts.webhook is not None:
        found.append(Webhook(alerts.webhook))
    return found


def subject(message: Message) -> str:
    """A message in one line."""
    first, *more = message.notices
    what = matters.title(first) if message.event != "test" else "this is a test"
    if more:
        what += f", and {len(more):,} more"
    return {"opened": "", "reminder": "Still: ", "resolved": "Resolved: ", "test": ""}[message.event] + what


def lines(message: Message) -> list[str]:
    """What is to be said: a line per matter, and where there is more."""
    shown = [_line(message.event, each) for each in message.notices[:SHOWN]]
    left = len(message.notices) - len(shown)
    if left:
        shown.append(f"And {left:,} more; `tidegate alerts` lists them all.")
    return shown


def _line(event: Event, notice: notices.Notice) -> str:
    if event == "resolved":
        ended = "" if notice.resolved_at is None else f", gone since {matters.moment(notice.resolved_at)}"
        return f"{matters.title(notice)}: resolved. It began {matters.moment(notice.opened_at)}{ended}."
    return notice.text if event == "test" else f"{notice.text} Since {matters.moment(notice.opened_at)}."


def document(message: Message) -> dict[str, Any]:
    """A message as a webhook of one's own gets it."""
    return {
        "id": message.id,
        "event": message.event,
        "text": subject(message),
        "matters": [
            {
                "matter": each.matter,
                "kind": each.kind,
                "flow": each.flow or None,
                "title": matters.title(each),
                "text": each.text,
                "opened_at": round(each.opened_at, 3),
                "resolved_at": None if each.resolved_at is None else round(each.resolved_at, 3),
            }
            for each in message.notices
        ],
    }


def signature(secret: str, body: bytes, at: float) -> str:
    """The header's value for a body that is sent at a time."""
    stamp = str(int(at))
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


class Webhook:
    """An address of one's own that takes JSON."""

    name = "webhook"

    def __init__(self, settings: configured.Webhook) -> None:
        self._settings = settings

    def send(self, message: Message) -> str:
        """Post the whole message."""
        _post(self._settings.url, document(message), self._settings.secret)
        return ""


class Slack:
    """A Slack-compatible webhook."""

    name = "slack"

    def __init__(self, settings: configured.Slack) -> None:
        self._settings = settings

    def send(self, message: Message) -> str:
        """Post it as text and as blocks."""
        _post(self._settings.webhook, blocks(message), self._settings.secret)
        return ""


def blocks(message: Message) -> dict[str, Any]:
    """A message as Slack takes it: `text` for the notification, `blocks` for the channel."""
    mark = {
        "opened": ":warning:",
        "reminder": ":warning:",
        "resolved": ":white_check_mark:",
        "test": ":wave:",
    }
    heading = f"{mark[message.event]} *{_escaped(subject(message))}*"
    return {
        "text": _escaped(subject(message)),
        # Slack takes at most 3,000 characters in a section's text, and 50 blocks.
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": text[:2_900]}}
            for text in (heading, *map(_escaped, lines(message)))
        ],
    }


def _escaped(text: str) -> str:
    """As Slack wants it, so that nothing becomes a link or calls a channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _opener() -> urllib.request.OpenerDirector:
    """Follows no redirect: what was signed for one address is not for another."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _post(address: pydantic.SecretStr, value: dict[str, Any], secret: pydantic.SecretStr | None) -> None:
    body = json.dumps(value, ensure_ascii=True).encode()
    headers = {"Content-Type": "application/json", "User-Agent": f"tidegate/{__version__}"}
    if secret is not None:
        headers[SIGNATURE] = signature(secret.get_secret_value(), body, time.time())
    url = address.get_secret_value()
    host = urllib.parse.urlsplit(url).hostname
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with _opener().open(request, timeout=PATIENCE) as answer:
            answer.read(1_000)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(host, error) from None
    except ssl.SSLError:
        raise NotTold(f"{host} has no certificate that this machine trusts; look at the address.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = "its certificate is not trusted" if _is_tls(error) else "there was no answer"
        raise NotTold(f"{host} was not reached: {why}; look at the address and the network.") from None


def _refused(host: str | None, error: urllib.error.HTTPError) -> NotTold:
    try:
        said = error.read(100).decode("ascii", "replace").strip()
    except (OSError, http.client.HTTPException):
        said = ""
    word = f", {said}" if _WORD.fullmatch(said) else ""
    wait = error.headers.get("Retry-After", "")
    text = f"{host} refused the message with status {error.code}{word}; look at the address in `alerts`."
    return NotTold(text, wait=min(float(wait), 3_600.0) if wait.isdecimal() else 0.0)


def _is_tls(error: BaseException) -> bool:
    return isinstance(getattr(error, "reason", None), ssl.SSLError)


class Email:
    """E-mail to some people."""

    name = "email"

    def __init__(self, settings: configured.Email) -> None:
        self._settings = settings
        self._server = notations.server(settings.smtp.get_secret_value())

    def send(self, message: Message) -> str:
        """Hand it to the mail server; recipients that it refuses while it takes others are counted."""
        written = letter(message, self._settings.sender, self._settings.to)
        refused = _delivered(self._server, written, self._settings.sender, self._settings.to)
        if not refused:
            return ""
        return f"{self._server.host} refused {refused} of {len(self._settings.to)} recipients; look at `to`."


def letter(message: Message, sender: str, to: Sequence[str]) -> email.message.EmailMessage:
    """A message as plain text.

    Its Message-ID is the same however often it is sent, and all that are about a matter refer to one id, so that
    they form a thread.
    """
    domain = sender.rpartition("@")[2]
    root = f"<{message.thread}.matter@{domain}>"
    # Ids are longer than a line may be folded at, which readers of folded ids do not all understand.
    written = email.message.EmailMessage(policy=email.policy.SMTP.clone(max_line_length=900))
    written["From"] = sender
    written["To"] = ", ".join(to)
    written["Subject"] = f"[Tidegate] {subject(message)}"
    written["Date"] = email.utils.formatdate()
    written["Message-ID"] = f"<{message.id}@{domain}>"
    written["In-Reply-To"] = root
    written["References"] = root
    written["Auto-Submitted"] = "auto-generated"  # RFC 3834: so that nobody's absence answers it
    written.set_content("\n\n".join(lines(message)) + "\n")
    return written


def _delivered(
    server: notations.Server, written: email.message.EmailMessage, sender: str, to: Sequence[str]
) -> int:
    """How many recipients the server refused, while it took others."""
    try:
        return _transmitted(server, written, sender, to)
    except smtplib.SMTPAuthenticationError as error:
        why = f"it refused the user or the password ({_code(error)})"
    except smtplib.SMTPNotSupportedError:
        why = "it offers no STARTTLS, or no way to sign in; with smtps:// or `?tls=off` it may"
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({str(code) for code, _ in error.recipients.values()})
        why = f"it refused every recipient ({', '.join(codes)})"
    except smtplib.SMTPSenderRefused as error:
        why = f"it refused the sender ({_code(error)})"
    except smtplib.SMTPResponseException as error:
        why = f"it refused the message ({_code(error)})"
    except ssl.SSLError:
        why = "its certificate is not trusted, or the port speaks no TLS"
    except (OSError, smtplib.SMTPException, ValueError):
        why = "there was no answer, or it hung up"
    raise NotTold(f"The mail server {server.host}:{server.port} did not take the message: {why}.")


def _transmitted(
    server: notations.Server, written: email.message.EmailMessage, sender: str, to: Sequence[str]
) -> int:
    trusted = ssl.create_default_context()
    name = socket.gethostname()  # its full name may take a lookup that hangs
    connection: smtplib.SMTP
    if server.tls == "whole":
        connection = smtplib.SMTP_SSL(
            server.host, server.port, local_hostname=name, timeout=PATIENCE, context=trusted
        )
    else:
        connection = smtplib.SMTP(server.host, server.port, local_hostname=name, timeout=PATIENCE)
    try:
        if server.tls == "start":
            connection.starttls(context=trusted)
        if server.user:
            connection.login(server.user, server.password)
        return len(connection.send_message(written, sender, list(to)))
    finally:
        _left(connection)


def _left(connection: smtplib.SMTP) -> None:
    """Say goodbye; what was taken is taken, whatever is said to that."""
    try:
        if connection.sock is not None:
            connection.quit()
    except (OSError, smtplib.SMTPException):
        pass
    finally:
        connection.close()


def _code(error: smtplib.SMTPResponseException) -> str:
    """The code that the server gave, `535 5.7.8`; its words may name people."""
    said = error.smtp_error if isinstance(error.smtp_error, bytes) else str(error.smtp_error).encode()
    found = _ENHANCED.search(said)
    return f"{error.smtp_code} {found.group().decode()}" if found else str(error.smtp_code)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
