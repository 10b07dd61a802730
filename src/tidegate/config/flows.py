"""What flows where: connections to Stripe, and pulls into a warehouse."""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SecretStr,
    StringConstraints,
    Tag,
)

from tidegate.config import conditions, pipelines, values

Treatment = Literal["keep", "hash", "exclude"]


def _or_empty(value: Any) -> Any:
    """`charges:` with nothing behind it means no options."""
    return {} if value is None else value


class OAuth(values.Base):
    """A connection made by "Sign in with Stripe": on its page, or by `tidegate account sign-in`."""

    client_id: Annotated[str, StringConstraints(pattern=r"^ca_[A-Za-z0-9]+$")]
    """Your platform's client id, from the Connect settings: `ca_...`."""
    client_secret: values.Secret
    """Your platform's secret key, best as `${NAME}`."""
    account: values.AccountId | None = None
    """The account that is to sign in; by default whichever does first."""
    access_token: values.Secret | None = None
    """The key of that account. Signing in gives it, and it is kept encrypted; leave it out."""


class Connection(values.Base):
    """One key to Stripe, and how gently to use it."""

    api_key: values.Secret | None = None
    """A secret or, better, a restricted key, best as `${STRIPE_API_KEY}`."""
    oauth: OAuth | None = None
    """Instead of `api_key`: an account that signed in with Stripe."""
    accounts: Annotated[
        Annotated[Literal["own", "all"], Tag("<word>")]
        | Annotated[tuple[values.AccountPath, ...], Tag("<list>")],
        Discriminator(lambda value: "<list>" if isinstance(value, list | tuple) else "<word>"),
    ] = "own"
    """`own`, `all` connected accounts too, or a list of `acct_...`; with an organisation's key always a list, where
    `acct_1/acct_2` is an account connected to one of the organisation's."""
    account_id: values.AccountId | None = None
    """The key's own account, for restricted keys that cannot ask for it."""
    start_date: values.StartDate | None = None
    """Objects created before this date are left out; the whole history by default."""
    before_start: Literal["include", "exclude"] = "include"
    """Whether older objects are kept when an event names them."""
    api_version: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$")] | None = None
    """The `Stripe-Version` of every request; the catalog's own by default."""
    api_base: values.HttpUrl = "https://api.stripe.com"
    """Where Stripe answers; another address for the sandbox."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The share of the rate limit to use; the rest stays yours."""
    rate_limit: values.Rate | None = None
    """Requests a second per account / per endpoint, `100/25`, or `off`; by the key's mode by default."""
    reads_per_month: Annotated[int, Field(gt=0)] | None = None
    """The read requests a month to stay inside; polling slows down for it."""
    webhook_secret: Annotated[
        Annotated[values.Secret, Tag("<word>")] | Annotated[tuple[values.Secret, ...], Tag("<list>")],
        Discriminator(lambda value: "<list>" if isinstance(value, list | tuple) else "<word>"),
    ] = ()
    """The signing secret, `whsec_...`, of a webhook endpoint that you made by hand; a list for several."""

    @pydantic.model_validator(mode="after")
    def _one_credential(self) -> Self:
        if (self.api_key is None) == (self.oauth is None):
            raise ValueError("give either `api_key` or `oauth`")
        return self

    @property
    def key(self) -> pydantic.SecretStr | None:
        """What requests are signed with; None while nobody has signed in."""
        return self.api_key or (self.oauth.access_token if self.oauth is not None else None)


LONGEST_NAME = 63
"""Characters of the longest name of a column that every warehouse takes."""

_COLUMN = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


def column_name(name: str) -> str:
    """The name of a column of your own; raises ValueError for one that cannot stand in every warehouse."""
    if name.startswith("_"):
        raise ValueError("names with an underscore first are Tidegate's own; leave it out")
    if name != name.lower() and _COLUMN.fullmatch(name.lower()):
        raise ValueError(f"warehouses ignore case, so a name is in lower case; write {name.lower()}")
    if not _COLUMN.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ValueError(
            f"a column's name has letters from a to z, digits and underscores, a letter first, and {LONGEST_NAME} "
            "characters at most"
        )
    return name


class Derived(pipelines.MapValue):
    """What a column of your own is computed from: exactly one of `from`, `value` and `sql`."""

    type: pipelines.PropertyType | None = None
    """What the column holds; by default what its field, SQL or constant does, and text for a path into JSON."""


class StreamOptions(values.Base):
    """How one stream is pulled; what is not said is taken from `"*"`."""

    enabled: bool = True
    """`false` leaves the stream out, also where `"*"` would take it."""
    table: values.Text | None = None
    """The table's name; the stream's name by default."""
    columns: Annotated[
        Annotated[tuple[values.Text, ...], Tag("<list>")]
        | Annotated[dict[values.Text, Treatment], Tag("<map>")],
        Discriminator(lambda value: "<map>" if isinstance(value, dict) else "<list>"),
    ] = Field(default_factory=dict)
    """A list keeps only these of Stripe's columns; a mapping says `keep`, `hash` or `exclude` for some."""
    exclude: tuple[values.Text, ...] = ()
    """Columns to leave out."""
    hash: tuple[values.Text, ...] = ()
    """Columns to replace by their SHA-256, so that they still join but tell nothing."""
    derive: Mapping[
        Annotated[str, AfterValidator(column_name)],
        Annotated[Derived, BeforeValidator(pipelines.origin, json_schema_input_type=str | Derived)],
    ] = Field(default_factory=dict)
    """Columns of your own, after Stripe's: name -> field, or where else it comes from."""
    where: conditions.Filter | None = None
    """Only rows for which this holds, by what Stripe says of them; derived columns cannot be asked for."""
    history: bool = False
    """Keep every version of a row in `<stream>_history`, with `_valid_from` and `_valid_to`."""
    deletes: Literal["soft", "hard"] = "soft"
    """`soft` marks deleted rows by `_deleted_at`, `hard` removes them."""
    lookback: values.Lookback | None = None
    """This stream's own lookback."""
    start_date: values.StartDate | None = None
    """This stream's own start date."""
    mode: Literal["incremental", "full_refresh"] = "incremental"
    """Read only what changed, or everything each time."""

    @property
    def only(self) -> frozenset[str] | None:
        """The columns to keep, or None for all."""
        return frozenset(self.columns) if isinstance(self.columns, tuple) else None

    @property
    def excluded(self) -> frozenset[str]:
        """The columns to leave out."""
        return frozenset(self.exclude) | self._treated("exclude")

    @property
    def hashed(self) -> frozenset[str]:
        """The columns to hash."""
        return frozenset(self.hash) | self._treated("hash")

    def _treated(self, treatment: str) -> frozenset[str]:
        columns = self.columns if isinstance(self.columns, dict) else {}
        return frozenset(name for name, each in columns.items() if each == treatment)


STRIPE_KEEPS = dt.timedelta(days=31)
"""For how long Stripe lists an event, and a day more."""


class Retention(values.Base):
    """How long things are kept in a warehouse; what is not said is kept for ever."""

    events: values.Age = None
    """Rows of the table `events`, from their creation."""
    history: values.Age = None
    """Versions of rows in the `_history` tables, from when the next version began."""
    deleted: values.Age = None
    """Rows that are marked as deleted, from their deletion."""
    runs: values.Age = Field(default=values.DEFAULT_RUNS, json_schema_extra={"default": "365d"})
    """Rows of `_tidegate_runs`, from the end of the run."""

    @pydantic.field_validator("events")
    @classmethod
    def _beyond_stripe(cls, value: dt.timedelta | None) -> dt.timedelta | None:
        if value is not None and value < STRIPE_KEEPS:
            raise ValueError("keep events for 31d at least: Stripe itself lists them for 30 days")
        return value


class Pull(values.Base):
    """Streams of one connection into one warehouse."""

    connection: values.Name = Field(alias="from")
    """The connection under `stripe`."""
    warehouse: values.Name = Field(alias="to")
    """The warehouse under `warehouses`."""
    lookback: values.Lookback = Field(default=values.DEFAULT_LOOKBACK, json_schema_extra={"default": "7d"})
    """How far back to read again what Stripe sends no events for: `0d` to `600d`."""
    schedule: values.Schedule = "manual"
    """When: `continuous`, `manual`, `every 15m`, a cron line, a pace with an anchor, or after others."""
    retention: Retention = Field(default_factory=Retention, json_schema_extra={"default": {}})
    """How long events, history, deleted rows and runs are kept."""
    streams: Mapping[str, Annotated[StreamOptions, BeforeValidator(_or_empty)]] = Field(
        default_factory=lambda: {"*": StreamOptions()}, json_schema_extra={"default": {"*": {}}}
    )
    """Streams by name or pattern (`issuing_*`) with their options; `"*"` means all, and what they share."""

    def options(self, stream: str) -> StreamOptions:
        """A stream's options: its own, where they say nothing those of a pattern, and last those of `"*"`."""
        options = StreamOptions()
        for _, each in sorted(self._meant(stream)):
            said = {name: getattr(self.streams[each], name) for name in self.streams[each].model_fields_set}
            options = options.model_copy(update=said)
        return options

    def takes(self, stream: str, *, default: bool = True) -> bool:
        """Is the stream chosen? `default` says whether `"*"` means it at all."""
        meant = [name for _, name in self._meant(stream) if default or name != "*"]
        return bool(meant) and self.options(stream).enabled

    def _meant(self, stream: str) -> list[tuple[int, str]]:
        """The keys under `streams` that mean a stream, ranked: `"*"`, patterns, the name."""
        return [
            (0 if name == "*" else 2 if name == stream else 1, name)
            for name in self.streams
            if name == stream or fnmatch.fnmatchcase(stream, name)
        ]


DatabaseUrl = Annotated[SecretStr, pydantic.AfterValidator(values.database_url)]
