"""The settings that each of Tidegate's requests to ClickHouse has: answers whole and inserts in one block.

A user's profile, or the server's, may have any of them otherwise.
https://clickhouse.com/docs/operations/settings/settings
"""

from __future__ import annotations

from typing import Any

BATCH = 10_000
"""Rows per batch of a query."""

ARROW: dict[str, Any] = {
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_fixed_string_as_fixed_byte_array": 0,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
    "output_format_arrow_compression_method": "none",
}
WHOLE: dict[str, Any] = dict.fromkeys(
    (
        "read_overflow_mode",
        "result_overflow_mode",
        "timeout_overflow_mode",
        "set_overflow_mode",
        "join_overflow_mode",
        "distinct_overflow_mode",
        "group_by_overflow_mode",
        "sort_overflow_mode",
        "transfer_overflow_mode",
    ),
    "throw",
)
"""Else an answer that passes a limit may be cut short without a word."""
FRESH = {"use_query_cache": 0}
READING = {
    # As SQL has it: what a join does not find is NULL, and so is the greatest of no values; WHERE knows no aliases.
    "join_use_nulls": 1,
    "prefer_column_name_to_alias": 1,
    "aggregate_functions_null_for_empty": 1,
    "cast_keep_nullable": 1,
    "count_distinct_implementation": "uniqExact",
    "data_type_default_nullable": 0,
    "select_sequential_consistency": 1,
    **WHOLE,
    **FRESH,
    **ARROW,
}
STREAMING = {
    **WHOLE,
    **FRESH,
    "readonly": 2,
    "max_block_size": BATCH,
    # https://clickhouse.com/docs/operations/settings/settings#cancel_http_readonly_queries_on_client_close
    "cancel_http_readonly_queries_on_client_close": 1,
}
QUORUM = {
    # Of several replicas most have it when it is done, and whichever is asked then knows of it.
    # https://clickhouse.com/docs/operations/settings/settings#select_sequential_consistency
    "insert_quorum": "auto",
    "insert_quorum_parallel": 0,
}
CHANGING = READING | QUORUM
WRITING = {
    **QUORUM,
    # One block, whatever its size: https://clickhouse.com/docs/guides/inserting-data#inserts-are-atomic
    "async_insert": 0,
    "max_insert_block_size": 2**40,
    "min_insert_block_size_rows": 2**40,
    "min_insert_block_size_bytes": 2**50,
    "max_insert_threads": 1,
    "input_format_parallel_parsing": 0,
}
