"""What is special to Parquet: one manifest for all, files that never change, and what sweeps them."""

from __future__ import annotations

import datetime as dt
import json
import os
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path

import botocore.stub
import duckdb
import loads
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import servers

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import lake_files, parquet, storage, storage_faults, storage_s3
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[parquet.Parquet]:
    """A lake in `tmp_path`."""
    opened = parquet.Parquet(storage.Local(str(tmp_path / "lake")), "stripe", wait=0.0)
    yield opened
    opened.close()


def manifest(tmp_path: Path) -> dict[str, dict[str, dict[str, list[dict[str, str]]]]]:
    found: dict[str, dict[str, dict[str, list[dict[str, str]]]]] = json.loads(
        (tmp_path / "lake/stripe/manifest.json").read_text()
    )
    return found


def files(tmp_path: Path, table: str = "items") -> list[str]:
    return [f"{tmp_path}/lake/stripe/{file['path']}" for file in manifest(tmp_path)["tables"][table]["files"]]


def on_disk(tmp_path: Path, table: str = "items") -> set[str]:
    return {str(path) for path in (tmp_path / "lake/stripe" / table).glob("*.parquet")}


def test_duckdb_and_arrow_read_what_the_manifest_names(warehouse: parquet.Parquet, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x", notes='{"n": 9007199254740993}'))], {"cursor": "1"})
    warehouse.load([loads.load(loads.row("a", 2, "y"), loads.row("b", 2, "z"))], {"cursor": "2"})

    with duckdb.connect() as plain:
        plain.execute(
            "SET VARIABLE files = (SELECT list($1 || '/' || file.path) FROM ("
            "SELECT unnest(tables.items.files) AS file FROM read_json($1 || '/manifest.json')))",
            [f"{tmp_path}/lake/stripe"],
        )
        found = plain.execute(
            "SELECT id, name, typeof(notes), typeof(_synced_at) "
            "FROM read_parquet(getvariable('files'), union_by_name = true) ORDER BY id"
        ).fetchall()
    assert found == [
        ("a", "y", "JSON", "TIMESTAMP WITH TIME ZONE"),
        ("b", "z", "JSON", "TIMESTAMP WITH TIME ZONE"),
    ]

    table = pq.read_table(files(tmp_path))
    assert sorted(table["id"].to_pylist()) == ["a", "b"]
    assert table.schema.field("_synced_at").type == pa.timestamp("us", "UTC")
    [state] = files(tmp_path, base.STATE)
    assert ("cursor", "2") in zip(
        *(pq.read_table(state)[c].to_pylist() for c in ("key", "value")), strict=True
    )


def test_a_table_without_rows_is_a_file_with_its_columns(warehouse: parquet.Parquet, tmp_path: Path) -> None:
    warehouse.prepare([loads.ITEMS])
    [only] = files(tmp_path)
    assert pq.read_schema(only).names == loads.ITEMS.schema.names
    warehouse.load([loads.load(loads.row("a", 1))], {})
    warehouse.load([loads.drop("a")], {})
    [only] = files(tmp_path)
    assert pq.read_metadata(only).num_rows == 0


def test_only_files_with_touched_keys_are_written_anew(
    warehouse: parquet.Parquet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_files, "TARGET", 1)
    for name in "abc":
        warehouse.load([loads.load(loads.row(name, 1, name))], {})
    before = files(tmp_path)
    assert len(before) == 3
    warehouse.load([loads.load(loads.row("b", 2, "new"))], {})
    assert len(set(before) & set(files(tmp_path))) == 2
    assert loads.items(warehouse) == [("a", "a", 1, None), ("b", "new", 2, None), ("c", "c", 1, None)]


def test_small_files_are_written_together(warehouse: parquet.Parquet, tmp_path: Path) -> None:
    for number in range(30):
        warehouse.load([loads.load(loads.row(f"id{number:02}", 1, "x"))], {})
        assert len(files(tmp_path)) <= lake_files.MANY
    assert len(loads.items(warehouse)) == 30


def test_rows_that_come_at_once_become_files_of_a_size(
    warehouse: parquet.Parquet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_files, "TARGET", 20_000)
    warehouse.load([loads.load(*(loads.row(f"id{number}", 1, "x" * 50) for number in range(5_000)))], {})
    assert len(files(tmp_path)) > 3
    assert len(loads.items(warehouse)) == 5_000


def test_a_reader_keeps_what_it_began_with(warehouse: parquet.Parquet) -> None:
    many = [loads.row(f"id{number:05}", 1, "old") for number in range(25_000)]
    warehouse.load([loads.load(*many)], {})
    batches = warehouse.read("SELECT name FROM stripe.items")
    first = next(batches)
    warehouse.load([loads.load(*(each | {"name": "new", "_version": 2} for each in many))], {})
    rest = pa.Table.from_batches([first, *batches])
    assert pc.unique(rest["name"]).to_pylist() == ["old"]
    assert rest.num_rows == 25_000


def test_superseded_files_go_after_their_grace(
    warehouse: parquet.Parquet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    warehouse.load([loads.load(loads.row("a", 2))], {})
    assert len(on_disk(tmp_path)) == 3  # the empty one, the first and the second
    monkeypatch.setattr(parquet, "GRACE", dt.timedelta(0))
    warehouse.load([], {"cursor": "1"})
    assert on_disk(tmp_path) == set(files(tmp_path))


def test_what_killed_writers_left_goes_when_it_is_old(warehouse: parquet.Parquet, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    folder = tmp_path / "lake/stripe/items"
    kept = on_disk(tmp_path)
    old, young = folder / lake_files.fresh(), folder / lake_files.fresh()
    theirs = {folder / "export.parquet", folder / "notes.txt"}
    for path in (old, young, *theirs):
        path.write_bytes(b"half a file")
    for path in (old, *theirs):
        os.utime(path, (1, 1))
    warehouse.claim("me", ["items"])
    assert set(map(str, folder.iterdir())) == {*kept, str(young), *map(str, theirs)}


def test_a_load_that_is_committed_stays_when_clearing_up_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sticky(storage.Local):
        failures = 0

        def remove(self, paths: Iterable[str]) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError(5, "Input/output error")
            super().remove(paths)

    monkeypatch.setattr(parquet, "GRACE", dt.timedelta(0))
    place = Sticky(str(tmp_path / "lake"))
    warehouse = parquet.Parquet(place, "stripe", wait=0.0)
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    warehouse.load([loads.load(loads.row("a", 2, "y"))], {"cursor": "2"})
    place.failures = 1
    warehouse.load([loads.load(loads.row("a", 3, "z"))], {"cursor": "3"})
    assert place.failures == 0
    assert loads.items(warehouse) == [("a", "z", 3, None)]
    assert warehouse.state() == {"cursor": "3"}
    warehouse.close()


def test_of_two_writers_one_decides_again(warehouse: parquet.Parquet, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    other = parquet.Parquet(storage.Local(str(tmp_path / "lake")), "stripe")
    warehouse.refresh()
    other.load([loads.load(loads.row("b", 1, "y"))], {"cursor": "1"})
    before = on_disk(tmp_path)
    with pytest.raises(storage.Changed):
        warehouse.commit([], {"cursor": "2"}, None)
    assert on_disk(tmp_path) == before
    assert warehouse.state() == {"cursor": "1"}
    other.close()


def test_a_manifest_of_somebody_else_is_left_as_it_is(warehouse: parquet.Parquet, tmp_path: Path) -> None:
    (tmp_path / "lake/stripe").mkdir(parents=True)
    path = tmp_path / "lake/stripe/manifest.json"
    for text, says in (("{}", "no manifest of Tidegate"), ('{"format": 99}', "newer Tidegate")):
        path.write_text(text)
        with pytest.raises(errors.WarehouseCorrupt, match=says):
            warehouse.load([loads.load(loads.row("a", 1))], {})
        assert path.read_text() == text


# S3


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment of a user of S3; returns the address."""
    url = servers.s3()
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return url


def test_s3_refuses_a_manifest_that_changed(bucket: str, tmp_path: Path) -> None:
    del bucket
    place = storage_s3.S3(f"s3://lake/{tmp_path.name}", None)
    path = f"{place.root}/manifest.json"
    assert place.get(path) is None
    first = place.exchange(path, b"1", None)
    with pytest.raises(storage.Changed):
        place.exchange(path, b"2", None)
    second = place.exchange(path, b"2", first)
    with pytest.raises(storage.Changed):
        place.exchange(path, b"3", first)
    assert place.get(path) == storage.Content(b"2", second)


def test_options_of_the_file_are_used_instead_of_the_environment(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    target = kinds.Parquet.model_validate(
        {
            "type": "parquet",
            "path": f"s3://lake/{tmp_path.name}",
            "s3": {"endpoint": bucket, "key": "key", "secret": "hunter2"},
        }
    )
    opened = warehouses.open_warehouse(target)
    opened.load([loads.load(loads.row("a", 1, "x"))], {})
    assert loads.items(opened) == [("a", "x", 1, None)]
    opened.close()


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (
            "AccessDenied",
            errors.WarehouseError,
            "allow it s3:ListBucket .* s3:PutObject and s3:DeleteObject",
        ),
        ("InvalidAccessKeyId", errors.ConfigError, "check the key and the secret"),
        ("SlowDown", errors.WarehouseUnreachable, "cannot answer now"),
        ("QuotaExceeded", errors.WarehouseFull, "quota"),
    ],
)
def test_what_s3_answers_is_said_with_what_to_do(code: str, kind: type[Exception], says: str) -> None:
    import botocore.exceptions

    answer = {"Error": {"Code": code, "Message": "jenny@example.com"}}
    found = storage_faults.explain(botocore.exceptions.ClientError(answer, "PutObject"), "s3://lake/x")
    assert isinstance(found, kind)
    with pytest.raises(kind, match=says):
        raise found
    assert "jenny" not in str(found)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("AWS Error SLOW_DOWN during UploadPart operation: jenny", errors.WarehouseUnreachable),
        ("AWS Error INTERNAL_FAILURE during UploadPart operation: jenny", errors.WarehouseUnreachable),
        ("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation", errors.WarehouseUnreachable),
        ("AWS Error UNKNOWN (HTTP status 429) during HeadObject operation", errors.WarehouseUnreachable),
        ("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation", errors.ConfigError),
        ("AWS Error REQUEST_TIME_TOO_SKEWED during UploadPart operation: jenny", errors.ConfigError),
        ("(HTTP status 501): Unable to parse ExceptionName: NotImplemented", errors.ConfigError),
    ],
)
def test_what_arrow_tells_of_s3_is_said_with_what_to_do(text: str, kind: type[Exception]) -> None:
    found = storage_faults.told(text, "s3://lake/x")
    assert isinstance(found, kind)
    assert "jenny" not in str(found)


def test_files_stay_while_nobody_knows_whether_a_manifest_names_them(bucket: str, tmp_path: Path) -> None:
    del bucket

    class Slow(storage_s3.S3):
        """A bucket that is still about to do what it refuses to be asked again."""

        later: tuple[str, bytes] | None = None

        def exchange(self, path: str, data: bytes, tag: str | None) -> str:
            with botocore.stub.Stubber(self._client) as stub:
                stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
                stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
                self.later = path, data
                return super().exchange(path, data, tag)

    place = Slow(f"s3://lake/{tmp_path.name}", None)
    warehouse = parquet.Parquet(place, "stripe", wait=0.0)
    with pytest.raises(errors.WarehouseBusy):
        warehouse.prepare([loads.ITEMS])
    assert place.later is not None
    path, data = place.later
    storage_s3.S3(place.root, None).exchange(path, data, None)
    assert loads.items(warehouse) == []
    warehouse.close()


# Names and configuration


@pytest.mark.parametrize("name", ["plain", 'say "hi"', "dots.in.name", "ünï🐟", "a/b\\c", "..", "~41"])
def test_a_folder_stands_for_any_name(name: str) -> None:
    folder = storage.encoded(name)
    assert storage.decoded(folder) == name
    assert not set(folder) & set('./\\"%? ')
    assert urllib.parse.quote(folder) == folder


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("parquet+file:///lake", "{here}/lake"),
        ("parquet+file:////srv/a%20lake", "/srv/a lake"),
        ("parquet+s3://bucket/pre/fix/", "s3://bucket/pre/fix"),
    ],
)
def test_a_url_names_a_folder(url: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = kinds.Parquet.model_validate({"type": "parquet", "url": url})
    assert target.folder == folder.format(here=tmp_path)


@pytest.mark.parametrize(
    "url", ["parquet://x", "parquet+gs://bucket/x", "delta+file:///x", "parquet+file://x"]
)
def test_what_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"write parquet|begins with parquet|four slashes"):
        kinds.Parquet.model_validate({"type": "parquet", "url": url})


def test_half_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="belong together"):
        kinds.S3.model_validate({"key": "k"})
