"""What editors do not reach: files, passwords and identities of the server, and what answers to it alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import managing
import pytest

from tidegate import outward
from tidegate.engine import bounds, editing
from tidegate.engine import place as places
from tidegate.store import secrets

PG = {"type": "postgres", "host": "db", "database": "x", "user": "u"}
LAKE = {"type": "parquet", "path": "s3://bucket/prefix"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secrets.VARIABLE, secrets.new_key())


@pytest.fixture
def more() -> str:
    """What the file says besides where the metadata database is."""
    return ""


@pytest.fixture
def place(tmp_path: Path, more: str) -> Iterator[places.Place]:
    url = f"sqlite:///{tmp_path}/tidegate.db"
    with managing.placed(managing.written(tmp_path, url, more), url) as found:
        yield found


def told(place: places.Place, body: dict[str, Any], *, kind: str = "warehouses", admin: bool = False) -> str:
    """What is wrong with a body, each as `place: sentence`, up to the first comma."""
    found = editing.check(place, kind, "" if kind == "alerts" else "w", body, admin=admin)
    return "; ".join(f"{each.path}: {each.sentence.partition(', ')[0]}" for each in found)


class TestFiles:
    @pytest.mark.parametrize(
        "body",
        [
            {"type": "duckdb", "path": "/srv/other.duckdb"},
            {"type": "duckdb", "path": "../other.duckdb"},
            {"type": "duckdb", "path": "link/other.duckdb"},
            {"type": "duckdb", "path": "~/other.duckdb"},
            {"type": "duckdb", "path": "file:///srv/other.duckdb"},
            {"type": "duckdb", "path": "https://evil.example/other.duckdb"},
            {"type": "duckdb", "path": "md://other"},
            {"type": "duckdb", "path": "s3://bucket/other.duckdb"},
            {"type": "duckdb", "url": "duckdb:////srv/other.duckdb"},
            {"type": "duckdb", "url": "duckdb:///%2e%2e/other.duckdb"},
            {"type": "motherduck", "url": "motherduck+file:///srv/other.duckdb"},
            {"type": "parquet", "path": "/srv"},
            {"type": "delta", "url": "delta+file:////srv"},
            {"type": "iceberg", "path": "link"},
            {"type": "mysql", "host": "db", "ca": "/etc/ssl/private/key.pem"},
            {"type": "mysql", "host": "db", "cert": "/etc/ssl/private/key.pem"},
            {"type": "elasticsearch", "url": "https://es:9200", "ca": "/etc/ssl/private/key.pem"},
        ],
        ids=str,
    )
    def test_an_editor_names_none_outside_of_the_configurations_folder(
        self, place: places.Place, tmp_path: Path, body: dict[str, str]
    ) -> None:
        (tmp_path / "link").symlink_to("/srv")
        said = editing.check(place, "warehouses", "w", body)
        assert [each.sentence for each in said] == [
            f"only an admin, or `tidegate apply`, may name a file outside of {tmp_path}"
        ]
        assert not any(
            "only an admin" in str(each) for each in editing.check(place, "warehouses", "w", body, admin=True)
        )

    @pytest.mark.parametrize(
        "file",
        ["tidegate.yaml", "tidegate.db", "./tidegate.db.key", "tidegate.db-wal", ".ssh/x", "link", "a/.b/c"],
    )
    def test_nor_hidden_ones_nor_those_that_tidegate_needs(
        self, place: places.Place, tmp_path: Path, file: str
    ) -> None:
        (tmp_path / "link").symlink_to("tidegate.db")
        assert (
            "hidden files"
            in editing.check(place, "warehouses", "w", {"type": "duckdb", "path": file})[0].sentence
        )

    @pytest.mark.parametrize(
        "body",
        [
            {"type": "duckdb", "path": "mine.duckdb"},
            {"type": "duckdb", "url": "duckdb:///data/mine.duckdb"},
            {"type": "parquet", "path": "lake"},
            {"type": "delta", "url": "delta+file:///lake"},
            {"type": "delta", "url": "delta+s3://bucket/prefix"},
            {"type": "motherduck", "url": "md:mine", "token": "long-enough-token"},
            LAKE,
        ],
        ids=str,
    )
    def test_its_own_are_in_that_folder_or_elsewhere_altogether(
        self, place: places.Place, body: dict[str, str]
    ) -> None:
        assert told(place, body) == ""

    @pytest.mark.parametrize("more", ["server: {folders: [data, /srv/lists]}\n"])
    def test_the_file_says_which_folders(self, place: places.Place, tmp_path: Path) -> None:
        for good in ("data/x.duckdb", "/srv/lists/x.duckdb"):
            assert told(place, {"type": "duckdb", "path": good}) == ""
        for bad in ("x.duckdb", "/srv/x.duckdb"):
            [said] = editing.check(place, "warehouses", "w", {"type": "duckdb", "path": bad})
            assert said.sentence.endswith(f"outside of {tmp_path}/data and /srv/lists")
        assert told(place, {"file": "x.csv", "key": "id"}, kind="models").startswith("file: only an admin")
        assert told(place, {"file": "data/x.csv", "key": "id"}, kind="models") == ""

    def test_one_that_an_admin_named_may_stay(self, place: places.Place, tmp_path: Path) -> None:
        body = {"type": "duckdb", "path": f"{tmp_path.parent}/other.duckdb"}
        seen = editing.change(place, "root", "warehouses", "w", body, None, admin=True).version
        assert (
            editing.change(place, "ann", "warehouses", "w", {**body, "schema": "mine"}, seen).action
            == "change"
        )

    def test_one_of_another_kind_is_looked_at_anew(self, place: places.Place) -> None:
        """What is a bucket to a lake is a file to DuckDB."""
        editing.change(place, "ann", "warehouses", "w", LAKE, None)
        assert told(place, {**LAKE, "type": "duckdb"}).startswith("path: only an admin")

    @pytest.mark.parametrize(
        "body",
        [
            {**PG, "host": "/var/run/postgresql", "password": "x"},
            {**PG, "host": "db,/var/run/postgresql", "password": "x"},
            {"type": "postgres", "url": "postgresql://u:x@db,:5433/x"},
            {"type": "postgres", "url": "postgresql://u:x@db?host=/var/run/postgresql"},
            {"type": "postgres", "url": "postgresql://u:x@db/x?%68ost=/var/run/postgresql"},
            {"type": "postgres", "url": "postgresql://u:x@/db?host=/var/run/postgresql"},
            {"type": "postgres", "url": "postgresql://u:x@%2Fvar%2Frun/db"},
            {"type": "postgres", "url": "postgresql://u:x@db/x?hostaddr=127.0.0.1"},
            {"type": "postgres", "url": "postgresql://u:x@db/x?sslkey=/etc/key.pem"},
            {"type": "redshift", "url": "redshift://u:x@db/x?service=prod&servicefile=/etc/x"},
            {"type": "mysql", "url": "mysql://u:x@db/?unix_socket=/run/mysqld.sock"},
            {"type": "mysql", "url": "mysql://u:x@db/?ca=/etc/key.pem"},
        ],
        ids=str,
    )
    def test_an_address_names_neither_sockets_nor_files(
        self, place: places.Place, body: dict[str, str]
    ) -> None:
        assert "only an admin" in told(place, body)
        assert told(place, body, admin=True) == ""

    def test_a_usual_address_does(self, place: places.Place) -> None:
        url = "postgresql://u:x@db:5433/x?sslmode=require&connect_timeout=5&application_name=tidegate"
        assert told(place, {"type": "postgres", "url": url}) == ""
        assert told(place, {"type": "mysql", "url": "mysql://u:x@db/?sslmode=require"}) == ""


class TestIdentities:
    @pytest.mark.parametrize(
        ("body", "at"),
        [
            (PG, "password"),
            ({"type": "postgres", "url": "postgresql://u@db/x"}, "url"),
            ({"type": "postgres", "url": "postgresql://u:@db/x"}, "url"),
            ({"url": "postgresql://db/x?password="}, "url"),
            ({"url": "postgresql://u:x@db/x?password="}, "url"),
            ({"type": "redshift", "url": "redshift://u@db/x"}, "url"),
            ({**PG, "password": "x", "ssh": {"host": "bastion"}}, "ssh"),
            ({**LAKE, "s3": {"endpoint": "https://evil.example"}}, "s3"),
            ({**LAKE, "s3": {"region": "x.evil.example/#"}}, "s3"),
            ({**LAKE, "type": "iceberg", "catalog": "https://evil.example"}, "catalog"),
        ],
        ids=str,
    )
    def test_none_of_the_servers_own_goes_where_an_editor_says(
        self, place: places.Place, body: dict[str, Any], at: str
    ) -> None:
        assert told(place, body).startswith(f"{at}: only an admin")
        assert told(place, body, admin=True) == ""

    @pytest.mark.parametrize(
        "body",
        [
            {**PG, "password": "x"},
            {"type": "postgres", "url": "postgresql://u:x@db/x"},
            {"type": "postgres", "url": "postgresql://db/x?user=u&password=x"},
            {**LAKE, "s3": {"region": "eu-central-1"}},
            {**LAKE, "s3": {"endpoint": "https://minio:9000", "key": "k", "secret": "s"}},
        ],
        ids=str,
    )
    def test_one_of_its_own_does(self, place: places.Place, body: dict[str, Any]) -> None:
        assert told(place, body) == ""

    def test_where_an_admin_lets_it_the_address_stays(self, place: places.Place) -> None:
        seen = editing.change(place, "root", "warehouses", "w", PG, None, admin=True).version
        assert told(place, {**PG, "host": "evil"}).startswith("password: only an admin")
        assert (
            editing.change(place, "ann", "warehouses", "w", {**PG, "schema": "mine"}, seen).action == "change"
        )

    def test_a_password_that_is_kept_may_not_be_left_out(self, place: places.Place) -> None:
        editing.change(place, "ann", "warehouses", "w", {**PG, "password": "geheim-und-lang"}, None)
        assert told(place, PG).startswith("password: only an admin")


class TestAddresses:
    @pytest.mark.parametrize(
        "host",
        [
            *("169.254.169.254", "169.254.170.2", "[fe80::1%25eth0]", "[fd00:ec2::254]", "100.100.100.200"),
            *("2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.169.254]"),
            *(
                "[64:ff9b::a9fe:a9fe]",
                "metadata.google.internal",
                "METADATA.google.internal.",
                "169。254。169。254",
            ),
            *("169.254\t.169.254", "user:word@169.254.169.254", "169.254.169.254:80"),
        ],
    )
    def test_what_answers_to_the_machine_alone_is_refused_in_every_notation(self, host: str) -> None:
        assert any(map(outward.is_inside, bounds.hosts(f"http://{host}/latest/meta-data")))

    @pytest.mark.parametrize(
        "host",
        ["10.0.0.7", "127.0.0.1", "example.com", "[::1]", "db", "169.253.1.1", "[fd00::1]", "1.2.3.4:5432"],
    )
    def test_other_networks_are_not(self, host: str) -> None:
        assert not any(map(outward.is_inside, bounds.hosts(f"http://{host}/169.254.169.254")))

    @pytest.mark.parametrize(
        ("kind", "body", "at"),
        [
            ("stripe", {"api_key": "sk_test_123456789012", "api_base": "http://169.254.169.254"}, "api_base"),
            ("warehouses", {**PG, "host": "169.254.169.254", "password": "x"}, "host"),
            ("warehouses", {"type": "postgres", "url": "postgresql://u:x@db,169.254.169.254/x"}, "url"),
            (
                "warehouses",
                {"type": "bigquery", "url": "bigquery://my-project?api_base=http://169.254.169.254"},
                "url",
            ),
            ("warehouses", {"type": "elasticsearch", "url": "http://169.254.169.254:80"}, "url"),
            (
                "warehouses",
                {**LAKE, "s3": {"endpoint": "169.254.169.254", "key": "k", "secret": "s"}},
                "s3.endpoint",
            ),
            (
                "warehouses",
                {
                    "type": "bigquery",
                    "project": "my-project",
                    "credentials": '{"type": "service_account", "token_uri": "http:\\/\\/169.254.169.254/x"}',
                },
                "credentials",
            ),
            ("alerts", {"webhook": {"url": "http://169.254.169.254/latest"}}, "webhook.url"),
        ],
        ids=str,
    )
    def test_nobody_writes_it_from_elsewhere(
        self, place: places.Place, kind: str, body: dict[str, Any], at: str
    ) -> None:
        for admin in (False, True):
            said = told(place, body, kind=kind, admin=admin)
            assert f"{at}: this answers to the server alone" in said
            assert "169.254" not in said

    @pytest.mark.parametrize("more", ["server: {link_local: true}\n"])
    def test_the_file_may_allow_it(self, place: places.Place) -> None:
        assert told(place, {"webhook": {"url": "http://169.254.169.254/latest"}}, kind="alerts") == ""
