"""A door in front of an S3 server: it passes requests on, and makes the trouble that it is told to make.

Runs as a process of its own, `python s3_door.py http://127.0.0.1:PORT`, prints its port and ends with its
standard input. `POST /_trouble` takes the rules as JSON, the first that fits a request decides what happens to it:

    {"method": "PUT", "path": "manifest", "key": "AKIA", "times": 2, "code": "AccessDenied", "status": 403}

`path` is a part of the path, `key` the access key that signed, `times` how often the rule fits. Without a
`code` the connection is cut: on the way in once half of the body was read, on the way out ("when": "after")
before the answer leaves, so that nobody knows whether the request was done. `GET /_trouble` answers how often
each rule fitted.

A rule with "ignores" passes the request on without that header. Checksums that came to S3 in 2025 are refused, as
by much else that speaks S3.
"""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import sys
import threading
import urllib.parse
from typing import Any

HOPS = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect", "proxy-connection"}

rules: list[dict[str, Any]] = []
fitted: list[int] = []
lock = threading.Lock()


class Door(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    upstream = ""

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def handle_one_request(self) -> None:
        """As the standard library does, without its traces where a client goes away."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def answer(self) -> None:
        """Pass a request on, unless a rule fits."""
        if self.path == "/_trouble":
            self.control()
            return
        rule = self.rule()
        if rule is not None and "ignores" in rule:
            del self.headers[rule["ignores"]]
            rule = None
        if rule is not None and "code" not in rule and rule.get("when") != "after":
            self.rfile.read(min(int(self.headers.get("Content-Length") or 0) // 2, 1 << 16))
            self.cut()
            return
        body = self.body()
        if rule is not None and "code" in rule:
            text = (
                f"<?xml version='1.0'?><Error><Code>{rule['code']}</Code>"
                "<Message>jenny@example.com hunter2</Message></Error>"
            )
            self.respond(
                int(rule.get("status", 403)), {"Content-Type": "application/xml"}, text.encode(), None
            )
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOPS}
        if "Transfer-Encoding" in self.headers:
            headers["Content-Length"] = str(len(body))
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            connection.request(self.command, self.path, body, headers)
            found = connection.getresponse()
            content = found.read()
        finally:
            connection.close()
        if rule is not None:
            self.cut()
            return
        kept = {name: value for name, value in found.getheaders() if name.lower() not in HOPS}
        length = kept.pop("Content-Length", kept.pop("content-length", None))
        self.respond(found.status, kept, content, length)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def rule(self) -> dict[str, Any] | None:
        """The first rule that fits, which counts it."""
        path = urllib.parse.unquote(self.path)
        signed = self.headers.get("Authorization", "")
        with lock:
            for number, rule in enumerate(rules):
                if (
                    rule.get("method", self.command) == self.command
                    and rule.get("path", "") in path
                    and f"Credential={rule.get('key', '')}" in signed
                    and fitted[number] < rule.get("times", sys.maxsize)
                ):
                    fitted[number] += 1
                    return rule
        return None

    def control(self) -> None:
        """Take rules, or tell how often they fitted."""
        with lock:
            if self.command == "POST":
                rules[:] = json.loads(self.body())
                fitted[:] = [0] * len(rules)
            told = json.dumps(fitted).encode()
        self.respond(200, {}, told, None)

    def body(self) -> bytes:
        """What the request carries."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def respond(self, status: int, headers: dict[str, str], content: bytes, length: str | None) -> None:
        """Answer."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def cut(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()


def main() -> None:
    """Serve until standard input ends."""
    Door.upstream = urllib.parse.urlsplit(sys.argv[1]).netloc
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
