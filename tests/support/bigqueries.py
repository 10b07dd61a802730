"""The stand-in of BigQuery as others see it, by Google's own client, beside Tidegate."""

from __future__ import annotations

from google.cloud import bigquery as driver

from tidegate.adapters import bigquery_wire


def client(url: str) -> driver.Client:
    """A client for the project of a URL."""
    project, _, address = url.removeprefix("bigquery://").partition("?api_base=")
    return bigquery_wire.client(bigquery_wire.Target(project, api_base=address))


def asked(url: str, text: str) -> list[tuple[object, ...]]:
    """The rows of a query that somebody asks in BigQuery's own words."""
    with client(url) as opened:
        return [tuple(row.values()) for row in opened.query_and_wait(text)]
