"""Styles, scripts and fonts as browsers get them: built from `assets/` into `static/`, named after their content.

`static/manifest.json` says which file a name stands for: `{"files": {"app.js": "app-3F2A.js", ...}, ...}`. Beside
each file that gains from it stand `.br` and `.gz`. A name never means other bytes, so browsers keep a file for a
year.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastapi
from starlette import requests, responses

from tidegate import errors
from tidegate.server import asking, desk

FOLDER = Path(__file__).parent / "static"
PREFIX = "/static/"
YEAR = "public, max-age=31536000, immutable"
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
"""What is served, and as what; nothing else in the folder is."""
ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
"""The best first."""
MISSING = (
    "The pages are not part of this installation: the package was built without them. In a checkout run "
    "`./dev setup`; elsewhere install Tidegate from its wheel. The REST API and every command work without them."
)


def manifest(folder: Path = FOLDER) -> Mapping[str, str]:
    """Which file a name stands for; empty where nothing was built."""
    file = folder / "manifest.json"
    try:
        return _read(file, file.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}


def preloads(folder: Path = FOLDER) -> Sequence[str]:
    """Addresses of what `app.js` imports, which a browser may fetch beside it."""
    file = folder / "manifest.json"
    if not file.exists():
        return ()
    return [PREFIX + name for name in _parsed(file, file.stat().st_mtime_ns).get("preload", ())]


def _read(file: Path, changed: int) -> Mapping[str, str]:
    found: dict[str, str] = _parsed(file, changed)["files"]
    return found


@functools.lru_cache(maxsize=4)
def _parsed(file: Path, _changed: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def url(name: str, folder: Path = FOLDER) -> str:
    """The address of `app.css`, `app.js`, `inter.woff2`, ...; ConfigError where it was not built."""
    found = manifest(folder).get(name)
    if found is None:
        raise errors.ConfigError(MISSING)
    return PREFIX + found


def router(_: desk.Desk, folder: Path = FOLDER) -> fastapi.APIRouter:
    """The route that serves them, to everybody."""
    made = fastapi.APIRouter()

    @asking.public
    def static(name: str, request: requests.Request) -> responses.Response:
        return serve(name, request, folder)

    made.add_api_route(
        PREFIX + "{name}", static, methods=["GET", "HEAD"], include_in_schema=False, response_model=None
    )
    return made


def serve(name: str, request: requests.Request, folder: Path = FOLDER) -> responses.Response:
    """One file, compressed as the browser likes it best; 404 for what the manifest does not name."""
    kind = KINDS.get(Path(name).suffix)
    if kind is None or name not in manifest(folder).values():
        return responses.PlainTextResponse("There is no such file.\n", status_code=404)
    headers = {"Cache-Control": YEAR, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
    wanted = {each.split(";")[0].strip() for each in request.headers.get("accept-encoding", "").split(",")}
    for encoding, suffix in ENCODINGS:
        if encoding in wanted and (folder / (name + suffix)).exists():
            headers["Content-Encoding"] = encoding
            return responses.FileResponse(folder / (name + suffix), headers=headers, media_type=kind)
    return responses.FileResponse(folder / name, headers=headers, media_type=kind)
