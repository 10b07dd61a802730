"""A way to the sandbox that gives some requests an answer of the test's own, in Stripe's words."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PASSED_ON = ("Authorization", "Content-Type", "Idempotency-Key", "Stripe-Account", "Stripe-Version")
PASSED_BACK = ("Content-Type", "Date", "Idempotent-Replayed", "Request-Id", "Stripe-Should-Retry")


@dataclass
class Way:
    """Where it begins, and what it answers by itself: errors, by the method and the beginning of a path."""

    url: str = ""
    said: dict[tuple[str, str], tuple[int, dict[str, Any]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Methods of the requests that it answered by itself."""

    def say(self, method: str, path: str, status: int, **error: Any) -> None:
        """Answer so from now on."""
        self.said[method, path] = (status, error)


@contextlib.contextmanager
def way(to: str) -> Iterator[Way]:
    """One that lasts as long as the block."""
    host = urllib.parse.urlsplit(to).netloc
    made = Way()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError, http.client.HTTPException):  # then it hangs up, too
                self.pass_on()
                self.close_connection = False

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            for (method, path), (status, error) in made.said.items():
                if self.command == method and self.path.startswith(path):
                    made.asked.append(method)
                    self.tell(status, {"Request-Id": "req_said"}, json.dumps({"error": error}).encode())
                    return
            with contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as line:
                headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
                line.request(self.command, self.path, body, headers)
                found = line.getresponse()
                text = found.read()
                back = {name: value for name in PASSED_BACK if (value := found.getheader(name))}
            self.tell(found.status, back, text)

        def tell(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        made.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield made
        finally:
            server.shutdown()
            serving.join()
