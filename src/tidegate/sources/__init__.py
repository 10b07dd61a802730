"""Where models are read from: one protocol (`base`), the SQL warehouses by their adapters, what has none, files."""

from __future__ import annotations

import importlib

from tidegate import config, errors, warehouse
from tidegate.sources import base

OWN = {"elasticsearch": "elasticsearch", "google_sheets": "sheets"}
"""Module by type of what is no SQL warehouse, each with a function `open_source`."""


def of_model(file: config.Config, name: str, *, timeout: float = 600.0, wait: float = 60.0) -> base.Source:
    """The source of a model of the configuration, which `base.asked` tells what to read; see `open_source`."""
    model = file.models[name]
    if model.warehouse is not None:
        return open_source(file.warehouses[model.warehouse], timeout=timeout, wait=wait)
    from tidegate.sources import files

    assert model.file is not None, "A model has a warehouse or a file."
    return files.File(model.file)


def open_source(target: config.Warehouse, *, timeout: float = 600.0, wait: float = 60.0) -> base.Source:
    """The source that a configuration describes; nothing is opened yet.

    `timeout` is how many seconds a caller waits for the next rows of a query, `wait` how many until another process
    lets go of a DuckDB file. Raises ConfigError where a driver is missing.
    """
    if timeout <= 0:
        raise errors.ConfigError("A query needs some time; give a timeout of more than 0 seconds.")
    module = OWN.get(target.type)
    if module is not None:
        try:
            adapter = importlib.import_module(f"tidegate.sources.{module}")
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("tidegate"):
                raise
            extra = target.type.replace("_", "-")
            raise errors.ConfigError(
                f"The driver for {target.type} is not installed; run `pip install 'tidegate[{extra}]'`."
            ) from None
        own: base.Source = adapter.open_source(target, timeout=timeout)
        return own
    opened = warehouse.open_warehouse(target, wait=wait)
    from tidegate.sources import local, remote  # these bring DuckDB along, which takes its time
    from tidegate.warehouse import duckdb
    from tidegate.warehouse import remote as remotes

    if isinstance(opened, remotes.Remote):
        return remote.Remote(opened, timeout=timeout)
    if isinstance(opened, duckdb.DuckDB):
        return local.Local(opened, opened.path, timeout=timeout)
    from tidegate.adapters import lake

    assert isinstance(opened, lake.Lake), "All others are folders of files."
    return local.Local(opened, opened.where(), timeout=timeout)
