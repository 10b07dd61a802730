"""A bucket of S3, or of what speaks like it, and which storage a path names.

What the configuration does not say comes from the environment, as the tools of AWS look for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import types
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import duckdb

from tidegate import errors, outward
from tidegate.adapters import storage
from tidegate.config import warehouses as kinds


def at(path: str, options: kinds.S3 | None) -> storage.Storage:
    """The storage that a path of the configuration names."""
    if path.lower().startswith("s3://"):
        return S3("s3://" + path[5:], options)
    if "://" in path:
        raise errors.ConfigError(
            f"Files can lie in a local folder or under s3://BUCKET/PREFIX, not at {path.partition('://')[0]}://."
        )
    return storage.Local(path)


class S3:
    """A prefix of a bucket; what is not configured comes from the environment, as boto3 looks for it."""

    def __init__(self, root: str, options: kinds.S3 | None) -> None:
        self.root = root.rstrip("/")
        self.bucket = urlsplit(root).netloc
        if not self.bucket:
            raise errors.ConfigError(f"{root!r} names no bucket; write s3://BUCKET/PREFIX.")
        self._options = options
        boto3, self._exceptions = _module("boto3"), _module("botocore.exceptions")
        chosen = self._chosen()
        if "endpoint" in chosen and not chosen["endpoint"].endswith(".amazonaws.com"):
            # Since 2025 the SDKs of AWS send and ask for checksums of a kind that much of what speaks S3 refuses,
            # or takes for a part of the file. Arrow can be told in the environment only.
            # https://docs.aws.amazon.com/sdkref/latest/guide/feature-dataintegrity.html
            for name in ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"):
                os.environ.setdefault(name, "when_required")
        session = boto3.session.Session(
            aws_access_key_id=chosen.get("key"),
            aws_secret_access_key=chosen.get("secret"),
            aws_session_token=chosen.get("token"),
            region_name=chosen.get("region"),
        )
        try:
            client = _module("botocore.config").Config(
                retries={"mode": "standard", "max_attempts": 4}, connect_timeout=10, read_timeout=60
            )
            self._session = session
            self._client = session.client("s3", endpoint_url=chosen.get("endpoint"), config=client)
        except (ValueError, self._exceptions.BotoCoreError) as error:
            raise errors.ConfigError(
                f"The S3 options for {self.root} are no good ({type(error).__name__}); check endpoint and region."
            ) from None

    def _chosen(self) -> dict[str, str]:
        given = self._options
        found: dict[str, str] = {}
        if given is not None:
            plain = {"endpoint": given.endpoint, "region": given.region}
            secret = {"key": given.key, "secret": given.secret, "token": given.token}
            found = {name: value for name, value in plain.items() if value is not None}
            found |= {name: value.get_secret_value() for name, value in secret.items() if value is not None}
        for name, variables in _VARIABLES.items():
            for variable in variables:
                mixed = given is not None and given.key is not None and name in ("secret", "token")
                if os.environ.get(variable) and not mixed:
                    found.setdefault(name, os.environ[variable])
        return found

    def credentials(self) -> dict[str, str]:
        """Endpoint, region, key, secret and token as they are now; roles change theirs every hour.

        Raises ConfigError for an endpoint whose name leads where only this machine is answered.
        """
        found = self._chosen()
        if "endpoint" in found and outward.leads_inside(urlsplit(found["endpoint"]).hostname or ""):
            raise errors.ConfigError(
                f"The endpoint of {self.root} leads to what answers to this machine alone, with credentials of its "
                "own; where it is meant, write `link_local: true` under `server:` in tidegate.yaml."
            )
        held = self._session.get_credentials()
        if held is not None:
            frozen = held.get_frozen_credentials()
            found |= {"key": frozen.access_key, "secret": frozen.secret_key}
            if frozen.token:
                found["token"] = frozen.token
        if self._session.region_name:
            found.setdefault("region", self._session.region_name)
        return found

    def look(self) -> str:
        """Ask for the bucket."""
        self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(self.root) + "/", MaxKeys=1)
        return f"the bucket {self.bucket} answers"

    def signed(self) -> str:
        """A digest of the key."""
        found = self.credentials()
        return hashlib.sha256(
            repr([found.get(name) for name in ("key", "secret", "token")]).encode()
        ).hexdigest()

    def get(self, path: str) -> storage.Content | None:
        """A small file."""
        try:
            found = self._client.get_object(Bucket=self.bucket, Key=self._key(path))
            with contextlib.closing(found["Body"]) as body:
                return storage.Content(body.read(), found["ETag"])
        except self._exceptions.ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
                return None
            raise

    def exchange(self, path: str, data: bytes, tag: str | None) -> str:
        """Write a file on the condition that it is still the same, or still not there."""
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            done = self._client.put_object(Bucket=self.bucket, Key=self._key(path), Body=data, **condition)
        except self._exceptions.ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if code not in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise
            # It may have been ourselves: a request whose answer was lost was sent again.
            found = self.get(path)
            if found is not None and found.data == data:
                return found.tag
            if found is None or code in ("ConditionalRequestConflict", "409"):
                # Another request is under way, and that may be our own, too, which is then done after all.
                raise errors.WarehouseBusy(f"Somebody writes {path} at this moment.") from None
            raise storage.Changed(path) from None
        return str(done["ETag"])

    def create(self, path: str, data: bytes) -> None:
        """Write a file on the condition that it is not there."""
        self.exchange(path, data, None)

    def folder(self, path: str) -> None:
        """A bucket has no folders."""

    def seal(self, paths: Iterable[str]) -> None:
        """What was uploaded stays."""

    def folders(self, path: str) -> list[str]:
        """The names between one slash and the next."""
        prefix = self._key(path) + "/"
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, Delimiter="/"
        )
        return [each["Prefix"][len(prefix) : -1] for page in pages for each in page.get("CommonPrefixes", [])]

    def listed(self, path: str) -> Iterator[storage.Listed]:
        """Every object under a prefix."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self._key(path) + "/"
        )
        for page in pages:
            for each in page.get("Contents", []):
                yield storage.Listed(f"s3://{self.bucket}/{each['Key']}", each["LastModified"])

    def remove(self, paths: Iterable[str]) -> None:
        """Remove objects, one request each: not all that speak S3 can remove many at once."""
        for path in paths:
            self._client.delete_object(Bucket=self.bucket, Key=self._key(path))

    def show(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let DuckDB read and write the bucket through Arrow; its own way there would have to be downloaded."""
        wrapper = _module("fsspec.implementations.arrow").ArrowFSWrapper
        bucket = type("Bucket", (wrapper,), {"protocol": "s3"})
        connection.register_filesystem(bucket(self.arrow(), skip_instance_cache=True))

    def arrow(self) -> Any:
        """The bucket as Arrow's file system."""
        from pyarrow import fs

        found = self.credentials()
        options: dict[str, Any] = {"connect_timeout": 10, "request_timeout": 60}
        if "key" in found:
            options |= {"access_key": found["key"], "secret_key": found["secret"]}
        if "token" in found:
            options["session_token"] = found["token"]
        if "region" in found:
            options["region"] = found["region"]
        if "endpoint" in found:
            split = urlsplit(found["endpoint"])
            options |= {
                "endpoint_override": split.netloc or found["endpoint"],
                "scheme": split.scheme or "https",
            }
        return fs.S3FileSystem(**options)

    def _key(self, path: str) -> str:
        return path.removeprefix(f"s3://{self.bucket}").strip("/")


_VARIABLES = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "key": ("AWS_ACCESS_KEY_ID",),
    "secret": ("AWS_SECRET_ACCESS_KEY",),
    "token": ("AWS_SESSION_TOKEN",),
}
"""Where options of S3 come from that the configuration leaves out."""


def _module(name: str) -> types.ModuleType:
    """A module of the `s3` extra."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise errors.ConfigError(
            "The driver for S3 is not installed; run `pip install 'tidegate[s3]'`."
        ) from None
