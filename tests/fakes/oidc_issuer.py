"""An OpenID provider: it lets everybody in as the person that the test says, and signs with keys that change."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwk, jwt

CLIENT, SECRET = "tidegate", "a secret / of the client"


FIRST = jwk.RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
"""What it signs with at first."""


@dataclass
class Issuer:
    """What the provider knows, and how it misbehaves."""

    url: str = ""
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "u1", "email": "ann@example.com"})
    """Claims about who signs in."""
    key: Any = field(default_factory=lambda: FIRST)
    algorithm: str = "RS256"
    published: list[Any] = field(default_factory=list)
    """Keys that stand in the published set, besides the one that signs."""
    replaced: dict[str, Any] = field(default_factory=dict)
    """Claims that are wrong on purpose; None leaves one out."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """What it says about itself otherwise."""
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The paths that it was asked for."""
    token: str | None = None
    """An id token that it gives instead of its own."""
    registered: str = ""
    """The only address to which it sends anybody back; any where this is empty."""
    failing: int = 0
    """A status that it answers instead."""

    def rotate(self, kid: str) -> None:
        """Sign with another key from now on."""
        self.key = jwk.RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})

    def about(self) -> dict[str, Any]:
        """What it publishes about itself."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }

    def keys(self) -> dict[str, Any]:
        """The published keys."""
        return {"keys": [*self.published, self.key.as_dict(private=False)]}

    def claims(self, nonce: str) -> dict[str, Any]:
        """What an id token says."""
        now = int(time.time())
        told = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **self.person}
        told |= self.replaced
        return {name: value for name, value in told.items() if value is not None}

    def signed(self, claims: Mapping[str, Any], key: Any = None, **header: Any) -> str:
        """A token with these claims."""
        key = key or self.key
        head = {"alg": self.algorithm, "kid": key.kid, **header}
        return jwt.encode(head, dict(claims), key, algorithms=[head["alg"]])

    def authorize(self, query: Mapping[str, str]) -> str:
        """Where the browser goes back to: it is always let in."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = dict(query)
        back = {"code": code, "state": query["state"], "iss": self.url}
        return f"{query['redirect_uri']}?{urllib.parse.urlencode(back)}"

    def exchange(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """The tokens for a code, once."""
        pair = base64.b64encode(f"{CLIENT}:{urllib.parse.quote_plus(SECRET)}".encode()).decode()
        if authorization != f"Basic {pair}" and form.get("client_secret") != SECRET:
            return 401, {"error": "invalid_client"}
        query = self.codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if (
            query is None
            or query["redirect_uri"] != form["redirect_uri"]
            or challenge.rstrip(b"=").decode() != query["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        token = self.token or self.signed(self.claims(query["nonce"]))
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": token}


@contextlib.contextmanager
def running() -> Iterator[Issuer]:
    """A provider on this machine, until the block ends."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            issuer.asked.append(parts.path)
            if issuer.failing:
                self.answer(issuer.failing, {})
            elif parts.path == "/authorize":
                query = dict(urllib.parse.parse_qsl(parts.query))
                if query["redirect_uri"] != (issuer.registered or query["redirect_uri"]):
                    self.answer(400, {})
                    return
                self.send_response(302)
                self.send_header("Location", issuer.authorize(query))
                self.end_headers()
            elif parts.path == "/keys":
                self.answer(200, issuer.keys())
            elif parts.path == "/.well-known/openid-configuration":
                self.answer(200, issuer.about())
            else:
                self.answer(404, {})

        def do_POST(self) -> None:
            issuer.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = dict(urllib.parse.parse_qsl(body))
            self.answer(*issuer.exchange(form, self.headers.get("Authorization", "")))

        def answer(self, status: int, told: dict[str, Any]) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
