"""Every type that a query returns, as Arrow, exactly."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tidegate.sources import arrow, base
from tidegate.warehouse import base as warehouses

UTC = pa.timestamp("us", "UTC")
LOCAL = pa.timestamp("us")
JSON = "json"
MOMENT = dt.datetime(2024, 2, 29, 12, 34, 56, 789012)
EARLIER = dt.datetime(2024, 2, 29, 10, 34, 56, tzinfo=dt.UTC)
DAY = dt.date(2024, 2, 29)
LONG = Decimal("12345678901234567890.123456789")
EXACT = pa.decimal128(38, 9)
DOCUMENT = '{"a":9007199254740993}'

COMMON: dict[str, tuple[Any, Any]] = {
    "CAST(9223372036854775807 AS BIGINT)": (pa.int64(), 2**63 - 1),
    "'ü😀'": (pa.string(), "ü😀"),
}
DUCKDB: dict[str, tuple[Any, Any]] = COMMON | {
    f"CAST('{LONG}' AS DECIMAL(38,9))": (EXACT, LONG),
    "CAST('170141183460469231731687303715884105727' AS HUGEINT)": (pa.string(), str(2**127 - 1)),
    "CAST('NaN' AS DOUBLE)": (pa.float64(), "nan"),
    "DATE '2024-02-29'": (pa.date32(), DAY),
    "TIMESTAMP '2024-02-29 12:34:56.789012'": (LOCAL, MOMENT),
    "TIMESTAMPTZ '2024-02-29 12:34:56+02'": (UTC, EARLIER),
    "TIME '12:00:01'": (pa.string(), "12:00:01"),
    "INTERVAL 3 DAY": (pa.string(), "3 days"),
    "CAST('{\"a\":9007199254740993}' AS JSON)": (JSON, DOCUMENT),
    "[1.5::DECIMAL(3,1), NULL]": (JSON, "[1.5,null]"),
    "{'a': DATE '2024-02-29', 'b': 'x'}": (JSON, '{"a":"2024-02-29","b":"x"}'),
    "MAP {'k': 1}": (JSON, '{"k":1}'),
    "MAP {7: [true]}": (JSON, '{"7":[true]}'),
    "CAST('ab' AS BLOB)": (pa.string(), "6162"),
    "CAST('x' AS ENUM ('x', 'y'))": (pa.string(), "x"),
    "18446744073709551615::UBIGINT": (pa.uint64(), 2**64 - 1),
    "true": (pa.bool_(), True),
    "NULL": (pa.string(), None),
}
SQLSERVER: dict[str, tuple[Any, Any]] = {
    "CAST(9223372036854775807 AS BIGINT)": (pa.int64(), 2**63 - 1),
    "N'ü😀'": (pa.string(), "ü😀"),
    f"CAST('{LONG}' AS DECIMAL(38,9))": (EXACT, LONG),
    "CAST(1.5 AS FLOAT)": (pa.float64(), 1.5),
    "CAST('2024-02-29' AS DATE)": (pa.date32(), DAY),
    "CAST('2024-02-29 12:34:56.789012' AS DATETIME2(6))": (LOCAL, MOMENT),
    "CAST(1 AS BIT)": (pa.bool_(), True),
    "CAST(NULL AS NVARCHAR(10))": (pa.string(), None),
}
TYPES: dict[str, dict[str, tuple[Any, Any]]] = {
    "duckdb": DUCKDB,
    "parquet": DUCKDB,
    "delta": DUCKDB,
    "iceberg": DUCKDB,
    "postgres": COMMON
    | {
        "1::smallint": (pa.int64(), 1),
        f"CAST('{LONG}' AS numeric(38,9))": (EXACT, LONG),
        "123456789012345678901234567890.5::numeric": (pa.string(), "123456789012345678901234567890.5"),
        "'NaN'::float8": (pa.float64(), "nan"),
        "DATE '2024-02-29'": (pa.date32(), DAY),
        "TIMESTAMP '2024-02-29 12:34:56.789012'": (LOCAL, MOMENT),
        "TIMESTAMPTZ '2024-02-29 12:34:56+02'": (UTC, EARLIER),
        "TIME '12:00:01'": (pa.string(), "12:00:01"),
        "INTERVAL '3 days'": (pa.string(), "3 days"),
        "'{\"a\":9007199254740993}'::jsonb": (JSON, '{"a": 9007199254740993}'),
        "'{\"a\":9007199254740993}'::json": (JSON, DOCUMENT),
        "ARRAY[1.5, NULL]": (JSON, "[1.5,null]"),
        "ARRAY[ARRAY['a'], ARRAY['b']]": (JSON, '[["a"],["b"]]'),
        "'ab'::bytea": (pa.string(), "6162"),
        "true": (pa.bool_(), True),
        "NULL": (pa.string(), None),
        "'00000000-0000-0000-0000-000000000001'::uuid": (pa.string(), "00000000-0000-0000-0000-000000000001"),
        "'1.5'::money::text": (pa.string(), "$1.50"),
    },
    "mysql": {
        "9223372036854775807": (pa.int64(), 2**63 - 1),
        "18446744073709551615": (pa.uint64(), 2**64 - 1),
        "'ü😀'": (pa.string(), "ü😀"),
        f"CAST('{LONG}' AS DECIMAL(38,9))": (None, LONG),
        "1.5e0": (pa.float64(), 1.5),
        "DATE '2024-02-29'": (pa.date32(), DAY),
        "CAST('2024-02-29 12:34:56.789012' AS DATETIME(6))": (UTC, MOMENT.replace(tzinfo=dt.UTC)),
        "CAST('12:00:01' AS TIME)": (pa.string(), "12:00:01"),
        "JSON_OBJECT('a', 9007199254740993)": (pa.string(), '{"a": 9007199254740993}'),
        "CAST('ab' AS BINARY)": (pa.string(), "6162"),
        "NULL": (pa.string(), None),
    },
    "clickhouse": {
        "toInt64(9223372036854775807)": (pa.int64(), 2**63 - 1),
        "toUInt64(18446744073709551615)": (pa.uint64(), 2**64 - 1),
        f"toDecimal128('{LONG}', 9)": (EXACT, LONG),
        "'ü😀'": (pa.string(), "ü😀"),
        "toDate('2024-02-29')": (pa.date32(), DAY),
        "toDateTime64('2024-02-29 12:34:56.789012', 6, 'UTC')": (UTC, MOMENT.replace(tzinfo=dt.UTC)),
        "[1, 2]": (JSON, "[1,2]"),
        "map('k', 1)": (JSON, '{"k":1}'),
        "true": (pa.bool_(), True),
        "NULL": (pa.string(), None),
        "CAST('a' AS Enum8('a' = 1))": (pa.string(), "a"),
        "CAST('a' AS LowCardinality(String))": (pa.string(), "a"),
    },
    "snowflake": {
        "9223372036854775807": (None, 2**63 - 1),
        f"CAST('{LONG}' AS DECIMAL(38,9))": (EXACT, LONG),
        "1.5::float": (pa.float64(), 1.5),
        "DATE '2024-02-29'": (pa.date32(), DAY),
        "'2024-02-29 12:34:56.789012'::timestamp_ntz": (LOCAL, MOMENT),
        "'2024-02-29 12:34:56 +0200'::timestamp_tz": (UTC, EARLIER),
        "PARSE_JSON('{\"a\":9007199254740993}')": (JSON, DOCUMENT),
        "TO_BINARY('6162', 'HEX')": (pa.string(), "6162"),
        "true": (pa.bool_(), True),
        "'ü😀'": (pa.string(), "ü😀"),
        "NULL": (pa.string(), None),
    },
    "bigquery": {
        "9223372036854775807": (pa.int64(), 2**63 - 1),
        "CAST(1.5 AS FLOAT64)": (pa.float64(), 1.5),
        "DATE '2024-02-29'": (pa.date32(), DAY),
        "TIMESTAMP '2024-02-29 12:34:56+02'": (UTC, EARLIER),
        "JSON '{\"a\": 1}'": (JSON, '{"a":1}'),
        f"CAST('{LONG}' AS NUMERIC)": (EXACT, LONG),
        "DATETIME '2024-02-29 12:34:56.789012'": (LOCAL, MOMENT),
        "b'ab'": (pa.string(), "6162"),
        "[1, 2]": (JSON, "[1,2]"),
        "STRUCT(9007199254740993 AS a, [b'ab'] AS b)": (JSON, '{"a":9007199254740993,"b":["6162"]}'),
        "true": (pa.bool_(), True),
        "'ü😀'": (pa.string(), "ü😀"),
        "CAST(NULL AS STRING)": (pa.string(), None),
    },
    "databricks": {
        "9223372036854775807": (pa.int64(), 2**63 - 1),
        f"CAST('{LONG}' AS DECIMAL(38,9))": (EXACT, LONG),
        "CAST(1.5 AS DOUBLE)": (pa.float64(), 1.5),
        "DATE '2024-02-29'": (pa.date32(), DAY),
        "CAST('2024-02-29 12:34:56.789012' AS TIMESTAMP_NTZ)": (LOCAL, MOMENT),
        "TIMESTAMP '2024-02-29 12:34:56+02:00'": (UTC, EARLIER),
        "ARRAY(1, 2)": (JSON, "[1,2]"),
        "true": (pa.bool_(), True),
        "'ü😀'": (pa.string(), "ü😀"),
        "CAST(NULL AS STRING)": (pa.string(), None),
    },
    "sqlserver": SQLSERVER,
    "synapse": SQLSERVER,
    "redshift": COMMON
    | {
        f"CAST('{LONG}' AS numeric(38,9))": (None, LONG),
        "DATE '2024-02-29'": (pa.date32(), DAY),
        "TIMESTAMP '2024-02-29 12:34:56.789012'": (LOCAL, MOMENT),
        "TIMESTAMPTZ '2024-02-29 12:34:56+02'": (UTC, EARLIER),
        "true": (pa.bool_(), True),
    },
    "motherduck": COMMON
    | {
        f"CAST('{LONG}' AS DECIMAL(38,9))": (EXACT, LONG),
        "DATE '2024-02-29'": (pa.date32(), DAY),
        "TIMESTAMPTZ '2024-02-29 12:34:56+02'": (UTC, EARLIER),
        "[1, NULL]": (JSON, "[1,null]"),
        "true": (pa.bool_(), True),
        "NULL": (pa.string(), None),
    },
}
"""By kind of source: an expression in its words, the Arrow type it must have (None: any), and its value."""


def test_values_keep_their_types_and_all_of_their_digits(source: base.Source) -> None:
    wrong = {}
    for expression, (kind, value) in TYPES[source.kind].items():
        text = f"SELECT {expression} AS x"
        batches = list(source.read(text))
        field, [found] = (
            batches[0].schema[-1],
            [one for batch in batches for one in batch.column(-1).to_pylist()],
        )
        if (
            (kind == JSON and (field.type != pa.string() or field.metadata != warehouses.JSON))
            or (isinstance(kind, pa.DataType) and field.type != kind)
            or (str(found) if value == "nan" else found) != value
            or not source.columns(text).equals(batches[0].schema, check_metadata=True)
        ):
            wrong[expression] = (field, found)
    assert not wrong


def test_json_speaks_of_everything() -> None:
    value = {
        "d": Decimal("1.50"),
        "n": float("nan"),
        "b": b"ab",
        "t": dt.time(1, 2, 3),
        "at": EARLIER,
        "l": [None, (1, True)],
        "big": 2**64,
    }
    assert arrow.encoded(value) == (
        '{"d":1.50,"n":"nan","b":"6162","t":"01:02:03","at":"2024-02-29T10:34:56+00:00","l":[null,[1,true]],'
        '"big":18446744073709551616}'
    )


@pytest.mark.parametrize(
    ("array", "values"),
    [
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
        (pa.array([b"\x00\xff"], pa.large_binary()), ["00ff"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array([1], pa.time64("us")), ["00:00:00.000001"]),
        (pa.array([1, 10**9, None], pa.time64("ns")), ["00:00:00.000000001", "00:00:01", None]),
        (pa.array([61], pa.time32("s")), ["00:01:01"]),
        (pa.array([61_500], pa.time32("ms")), ["00:01:01.500000"]),
        (pa.array([0], pa.timestamp("us", "Europe/Berlin")), [dt.datetime(1970, 1, 1, tzinfo=dt.UTC)]),
    ],
)
def test_columns_become_plain(array: pa.Array, values: list[object]) -> None:
    batch = pa.RecordBatch.from_arrays([array], names=["x"])
    [found] = arrow.common(one for one in [batch])
    assert found.column(0).to_pylist() == values
