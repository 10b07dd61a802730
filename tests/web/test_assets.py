"""Files that browsers get: named after their content, compressed, and nothing else of the folder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import fastapi
import pytest
import requested
from starlette import responses

from tidegate import errors
from tidegate.server import asking
from tidegate.web import assets

BUILT = assets.manifest
FILES = {"app.js": "app-AAAA.js", "inter.woff2": "inter-BBBB.woff2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of a script with both compressed copies, and a font without."""
    (tmp_path / "app-AAAA.js").write_bytes(b"plain")
    (tmp_path / "app-AAAA.js.br").write_bytes(b"brotli")
    (tmp_path / "app-AAAA.js.gz").write_bytes(b"gzip")
    (tmp_path / "inter-BBBB.woff2").write_bytes(b"font")
    (tmp_path / "secret-CCCC.js").write_bytes(b"not named")
    (tmp_path / "manifest.json").write_text(json.dumps({"files": FILES}))
    return tmp_path


def served(name: str, folder: Path, encodings: str = "") -> tuple[responses.Response, bytes]:
    request = requested.request(assets.PREFIX + name, {"Accept-Encoding": encodings})
    answer = assets.serve(name, request, folder)
    body = (
        Path(answer.path).read_bytes() if isinstance(answer, responses.FileResponse) else bytes(answer.body)
    )
    return answer, body


@pytest.mark.parametrize(
    ("encodings", "body", "encoding"),
    [
        ("gzip, deflate, br, zstd", b"brotli", "br"), ("gzip;q=1.0, deflate", b"gzip", "gzip"),
        ("deflate", b"plain", None), ("", b"plain", None),
    ],
)  # fmt: skip
def test_the_best_copy_that_the_browser_takes(
    folder: Path, encodings: str, body: bytes, encoding: str | None
) -> None:
    answer, sent = served("app-AAAA.js", folder, encodings)
    assert (answer.status_code, sent, answer.headers.get("content-encoding")) == (200, body, encoding)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["vary"] == "Accept-Encoding"


def test_what_gains_nothing_is_sent_as_it_is(folder: Path) -> None:
    answer, sent = served("inter-BBBB.woff2", folder, "br, gzip")
    assert (sent, answer.headers["content-type"]) == (b"font", "font/woff2")
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    "name",
    [
        "secret-CCCC.js",
        "manifest.json",
        "app-AAAA.js.br",
        "../assets.py",
        "..%2fassets.py",
        "",
        "app.js",
        "x.css",
    ],
)
def test_nothing_else_is_served(folder: Path, name: str) -> None:
    assert served(name, folder)[0].status_code == 404


def test_names_stand_for_files_and_the_manifest_is_read_again_when_it_changes(folder: Path) -> None:
    assert assets.url("app.js", folder) == "/static/app-AAAA.js"
    (folder / "manifest.json").write_text(json.dumps({"files": {**FILES, "app.js": "app-DDDD.js"}}))
    (folder / "manifest.json").touch()
    assert assets.url("app.js", folder) == "/static/app-DDDD.js"


def test_what_the_script_imports_is_fetched_beside_it(folder: Path) -> None:
    assert assets.preloads(folder) == []
    (folder / "manifest.json").write_text(json.dumps({"files": FILES, "preload": ["chunk-EEEE.js"]}))
    assert assets.preloads(folder) == ["/static/chunk-EEEE.js"]
    assert assets.preloads(folder / "nowhere") == ()


def test_without_a_bundle_there_are_no_names_and_a_sentence_says_why(tmp_path: Path) -> None:
    assert BUILT(tmp_path) == {}
    with pytest.raises(errors.ConfigError, match=r"In a checkout run `./dev setup`"):
        assets.url("app.js", tmp_path / "nowhere")


def test_everybody_may_ask_for_them(folder: Path) -> None:
    made = assets.router(None, folder)  # type: ignore[arg-type]  # files need no desk
    route = made.routes[0]
    assert isinstance(route, fastapi.routing.APIRoute)
    assert asking.asked_by(route.endpoint) == "anybody"
    answer = route.endpoint("app-AAAA.js", requested.request("/static/app-AAAA.js"))
    assert answer.status_code == 200


@pytest.mark.usefixtures("built")
def test_the_built_bundle_is_whole_and_small() -> None:
    """With its HTML a list page takes 60 KB at most, without fonts and what only editors and charts need."""
    names = assets.manifest()
    for name in names.values():
        assert (assets.FOLDER / name).is_file(), name
    sizes = {name: (assets.FOLDER / (names[name] + ".gz")).stat().st_size for name in ("app.js", "app.css")}
    assert sum(sizes.values()) < 40_000, sizes
    licenses = (assets.FOLDER / "LICENSES.txt").read_text(encoding="utf-8")
    for package in ("htmx.org", "uplot", "@codemirror/view", "@fontsource-variable/inter"):
        assert f"{package} " in licenses


def test_serving_does_not_wait_for_a_loop(folder: Path) -> None:
    """Routes are plain functions: they run in threads, beside those that wait."""
    assert not asyncio.iscoroutinefunction(assets.router(None, folder).routes[0].endpoint)  # type: ignore[arg-type, attr-defined]
