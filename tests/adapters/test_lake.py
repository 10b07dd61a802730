"""What Parquet, Delta and Iceberg share: a folder of any name, threads, and what goes wrong with disks and S3."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import loads
import pyarrow as pa
import pytest
import servers

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base

FORMATS = ("parquet", "delta", "iceberg")
MODELS: dict[str, type[kinds.Lake]] = {
    "parquet": kinds.Parquet,
    "delta": kinds.Delta,
    "iceberg": kinds.Iceberg,
}
Opener = Callable[..., base.Warehouse]


@pytest.fixture(params=FORMATS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the formats."""
    return str(request.param)


@pytest.fixture
def opener(kind: str, tmp_path: Path) -> Iterator[Opener]:
    """Opens a lake at a path of the configuration; all are closed in the end."""
    made = []

    def opened(path: str, wait: float = 0.0, **options: object) -> base.Warehouse:
        if kind == "iceberg" and path.startswith("s3:"):
            options["catalog"] = f"sqlite:///{tmp_path}/catalog.db"
        target = MODELS[kind].model_validate({"type": kind, "path": path, **options})
        made.append(warehouses.open_warehouse(target, wait=wait))  # type: ignore[arg-type]  # it is one of them
        return made[-1]

    yield opened
    for each in made:
        each.close()


# Folders


@pytest.mark.parametrize("name", ["plain", "with space", "ünï 🐟", "a;b&c=d@e", "it's", 'say "hi"', "{a}*"])
def test_the_folder_may_be_called_anything(opener: Opener, tmp_path: Path, name: str) -> None:
    opened = opener(str(tmp_path / name / "lake"))
    opened.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    opened.load([loads.load(loads.row("a", 2, "y"), loads.row("b", 2, "z"))], {"cursor": "2"})
    again = opener(str(tmp_path / name / "lake"))
    assert loads.items(again) == [("a", "y", 2, None), ("b", "z", 2, None)]
    assert again.state() == {"cursor": "2"}
    assert [path.name for path in (tmp_path / name).iterdir()] == ["lake"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("parquet", []),
        ("delta", ["a%20b", "[a-z]", "a\\b", "^", "a|b"]),
        ("iceberg", ["a%20b", "100%", "a#b", "a?b"]),
    ],
)
def test_a_folder_that_a_library_cannot_open_is_refused(
    opener: Opener, names: list[str], tmp_path: Path
) -> None:
    for name in ["a%20b", "100%", "a#b", "a?b", "[a-z]", "a\\b", "^", "a|b"]:
        if name in names:
            with pytest.raises(errors.ConfigError, match=r"cannot open .*; name another folder"):
                opener(str(tmp_path / name))
            continue
        opened = opener(str(tmp_path / name))
        opened.load([loads.load(loads.row("a", 1, "x"))], {})
        assert loads.items(opened) == [("a", "x", 1, None)]


def test_threads_take_turns(opener: Opener, tmp_path: Path) -> None:
    opened = opener(str(tmp_path / "lake"))
    opened.load([loads.load(*(loads.row(f"id{n:02}", 1, "x") for n in range(20)))], {})
    keys = pa.table({"_account_id": ["acct_1"] * 20, "id": [f"id{n:02}" for n in range(20)]})
    done, failed = threading.Event(), []

    def look() -> None:
        try:
            while not done.is_set():
                assert opened.find(loads.ITEMS, keys, ["name"]).num_rows == 20
                assert len(loads.items(opened)) == 20
                opened.state()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, 8):
        opened.load(
            [loads.load(*(loads.row(f"id{n:02}", version, "x") for n in range(20)))], {"n": str(version)}
        )
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_query_opens_no_other_file(opener: Opener, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("secret\n42\n")
    opened = opener(str(tmp_path / "lake"))
    opened.load([loads.load(loads.row("a", 1, "x"))], {})
    for sql in (
        f"SELECT * FROM read_csv('{other}')",
        f"SELECT * FROM '{other}'",
        f"ATTACH '{tmp_path}/x.db'",
    ):
        with pytest.raises(errors.TidegateError) as raised:
            list(opened.read(sql))
        assert "42" not in str(raised.value)
    for change in ("SET enable_external_access = true", "SET allowed_directories = ['/']"):
        with pytest.raises(errors.TidegateError):
            list(opened.read(change))
    assert not (tmp_path / "x.db").exists()


def test_a_file_in_the_folders_place_is_one_sentence(opener: Opener, tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    opened = opener(str(tmp_path / "lake"))
    [check] = opened.check()
    assert (check.name, check.ok) == ("reach", False)
    assert "is not a folder" in check.detail
    with pytest.raises(errors.TidegateError):
        opened.load([loads.load(loads.row("a", 1))], {})


def test_a_file_that_is_gone_is_one_sentence(opener: Opener, tmp_path: Path) -> None:
    opened = opener(str(tmp_path / "lake"))
    opened.load([loads.load(loads.row("a", 1))], {})
    for path in (tmp_path / "lake").glob("stripe/items/**/*.parquet"):
        path.unlink()
    with pytest.raises(errors.WarehouseError, match="gone"):
        loads.items(opened)
    with pytest.raises(errors.WarehouseError, match="gone"):
        opened.load([loads.load(loads.row("a", 2))], {})


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(opener: Opener, tmp_path: Path) -> None:
    opened = opener(str(tmp_path / "lake"))
    opened.load([loads.load(loads.row("a", 1, "kept"))], {"cursor": "1"})
    before = set(tmp_path.rglob("*.parquet"))
    noise = [loads.row(f"id{i}", 1, os.urandom(500).hex()) for i in range(2_000)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        with pytest.raises(errors.WarehouseFull, match="full"):
            opened.load([loads.load(*noise)], {"cursor": "2"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert set(tmp_path.rglob("*.parquet")) == before
    assert loads.items(opened) == [("a", "kept", 1, None)]
    assert opened.state() == {"cursor": "1"}
    opened.load([loads.load(*noise)], {"cursor": "2"})
    assert len(loads.items(opened)) == 2_001


@pytest.mark.parametrize(("kind", "module"), [("delta", "deltalake"), ("iceberg", "pyiceberg")])
def test_a_missing_driver_is_named(
    kind: str, module: str, opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        if name == f"tidegate.adapters.{kind}" or name.partition(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(errors.ConfigError, match=rf"pip install 'tidegate\[{kind}\]'"):
        opener(str(tmp_path / "lake"))


def test_a_missing_driver_of_s3_is_named(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'tidegate\[s3\]'"):
        opener("s3://lake/x")


# S3


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The environment of a user of S3, behind a door that makes trouble; returns the address."""
    for name, value in {
        "AWS_ENDPOINT_URL": servers.s3_door(),
        "AWS_ACCESS_KEY_ID": "first",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"):
        monkeypatch.delenv(name, raising=False)
    trouble()
    yield servers.s3_door()
    trouble()


def trouble(*rules: dict[str, object]) -> None:
    """Tell the door what trouble to make from now on."""
    ask = urllib.request.Request(f"{servers.s3_door()}/_trouble", json.dumps(rules).encode(), method="POST")
    with urllib.request.urlopen(ask) as answer:
        answer.read()


def fitted() -> list[int]:
    """How often each rule fitted."""
    with urllib.request.urlopen(f"{servers.s3_door()}/_trouble") as answer:
        found: list[int] = json.load(answer)
    return found


@pytest.mark.usefixtures("door")
def test_s3_holds_the_same(opener: Opener, tmp_path: Path) -> None:
    path = f"s3://lake/{tmp_path.name}"
    opened, other = opener(path), opener(path, wait=60.0)
    fence = opened.claim("one", ["items"])
    opened.load([loads.load(loads.row("a", 1, "x"), loads.row("bäß", 1, "y"))], {"cursor": "1"}, fence)
    other.load([loads.load(loads.row("a", 2, "z"))], {"cursor": "2"})
    assert loads.items(opened) == [("a", "z", 2, None), ("bäß", "y", 1, None)]
    assert opened.state() == {"cursor": "2"}
    other.claim("two", ["items"])
    with pytest.raises(errors.Fenced, match="two"):
        opened.load([loads.load(loads.row("a", 3))], {}, fence)
    assert [(check.name, check.ok) for check in opened.check()] == [
        ("reach", True),
        ("read", True),
        ("write", True),
    ]


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize(
    "rule",
    [
        {"method": "PUT", "path": ".parquet", "times": 1},
        {"method": "PUT", "path": "json", "times": 1},
        {"method": "PUT", "path": "json", "times": 1, "when": "after"},
        {"method": "GET", "path": ".parquet", "times": 1},
        {"method": "PUT", "times": 2, "status": 503, "code": "SlowDown"},
        {"method": "PUT", "path": ".parquet", "times": 4, "status": 500, "code": "InternalError"},
    ],
    ids=["rows", "commit", "commit that was done", "reading", "slow down", "many errors"],
)
def test_a_connection_that_breaks_is_opened_again(
    opener: Opener, tmp_path: Path, rule: dict[str, object]
) -> None:
    opened = opener(f"s3://lake/{tmp_path.name}", wait=60.0)
    opened.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    trouble(rule)
    opened.load([loads.load(loads.row("a", 2, "y"), loads.row("b", 2, "z"))], {"cursor": "2"})
    assert loads.items(opened) == [("a", "y", 2, None), ("b", "z", 2, None)]
    assert opened.state() == {"cursor": "2"}
    assert fitted() == [rule["times"]]


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize(
    ("rule", "error", "says"),
    [
        ({"method": "PUT", "code": "AccessDenied"}, errors.WarehouseError, "allow it .*s3:PutObject"),
        ({"method": "GET", "code": "AccessDenied"}, errors.WarehouseError, "allow it .*s3:GetObject"),
        ({"code": "SignatureDoesNotMatch"}, errors.TidegateError, "check the key"),
        ({"code": "NoSuchBucket", "status": 404}, errors.TidegateError, "bucket"),
        (
            {"method": "PUT", "code": "XMinioStorageFull", "status": 507},
            errors.WarehouseFull,
            "quota .* is used up",
        ),
        ({"method": "PUT"}, errors.WarehouseUnreachable, "No answer"),
    ],
    ids=lambda value: (
        str(value.get("code", "cut")) + value.get("method", "") if isinstance(value, dict) else ""
    ),
)
def test_trouble_with_s3_is_one_sentence_and_leaves_what_was_there(
    opener: Opener, tmp_path: Path, rule: dict[str, object], error: type[Exception], says: str
) -> None:
    path = f"s3://lake/{tmp_path.name}"
    opener(path).load([loads.load(loads.row("a", 1, "kept"))], {"cursor": "1"})
    trouble(rule)
    opened = opener(path)
    with pytest.raises(error, match=says) as raised:
        opened.load([loads.load(loads.row("a", 2, "new"))], {"cursor": "2"})
    bad = opened.check()[-1]
    assert not bad.ok
    for text in (str(raised.value), bad.detail):
        assert "\n" not in text
        assert not {"hunter2", "jenny"} & set(text.replace("@", " ").split())
    trouble()
    assert loads.items(opened) == [("a", "kept", 1, None)]
    assert opened.state() == {"cursor": "1"}


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("parquet", "manifest.json"),
        ("delta", "_tidegate_state/_delta_log/"),
        ("iceberg", "_tidegate_state/metadata/"),
    ],
)
def test_a_position_that_cannot_be_written_ends_the_load(opener: Opener, tmp_path: Path, place: str) -> None:
    opened = opener(f"s3://lake/{tmp_path.name}")
    fence = opened.claim("one", ["items"])
    opened.load([loads.load(loads.row("a", 1, "kept"))], {"cursor": "1"}, fence)
    trouble({"method": "PUT", "path": place, "code": "AccessDenied"})
    with pytest.raises(errors.WarehouseError, match="forbids it"):
        opened.load([loads.load(loads.row("a", 2, "new"))], {"cursor": "2"}, fence)
    trouble()
    assert loads.items(opened) == [("a", "kept", 1, None)]
    assert opened.state() == {"cursor": "1"}


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize(
    ("kind", "header"), [("parquet", "If-None-Match"), ("parquet", "If-Match"), ("delta", "If-None-Match")]
)
def test_a_bucket_that_ignores_conditions_is_found_out(opener: Opener, tmp_path: Path, header: str) -> None:
    trouble({"ignores": header})
    opened = opener(f"s3://lake/{tmp_path.name}")
    bad = opened.check()[-1]
    assert (bad.name, bad.ok) == ("write", False)
    assert f"ignores conditional writes ({header})" in bad.detail


@pytest.mark.usefixtures("door")
def test_a_key_that_changes_is_used_from_then_on(
    opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = opener(f"s3://lake/{tmp_path.name}")
    opened.load([loads.load(loads.row("a", 1, "x"))], {})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "second")
    trouble({"key": "first", "code": "ExpiredToken"})
    again = opener(f"s3://lake/{tmp_path.name}")
    again.load([loads.load(loads.row("a", 2, "y"))], {})
    assert loads.items(again) == [("a", "y", 2, None)]
    assert fitted() == [0]
