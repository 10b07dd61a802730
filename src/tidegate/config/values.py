"""The small values of a configuration, as people write them: `7d`, `every 15m`, `100/25`, `20%`, dates.

Each type parses one notation and says what is wrong with anything else; none of them ever repeats the text it
was given, which may have come from a secret.
"""

from __future__ import annotations

import difflib
import math
import re
import urllib.parse
import zoneinfo
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import cronsim
import pydantic
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, SecretStr, StringConstraints, Tag

MAX_LOOKBACK = timedelta(days=600)
DEFAULT_LOOKBACK = timedelta(days=7)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WORDS = {"second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "day": "d", "week": "w"}
_DURATION = re.compile(r"\s*(\d{1,9})\s*([a-z]+)\s*\Z", re.IGNORECASE)
_FLOW = re.compile(r"(?:(?:pull|pipeline|push):)?[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
_CRON = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    ("day of the week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


def duration(text: str) -> timedelta:
    """`15m`, `6h`, `7d`, `2 weeks`; raises ValueError."""
    match = _DURATION.match(text)
    unit = match[2].lower() if match else ""
    unit = _WORDS.get(unit.removesuffix("s"), unit)
    if match is None or unit not in _UNITS:
        raise ValueError("write a number and a unit: 30s, 15m, 6h, 7d or 2w")
    return timedelta(seconds=int(match[1]) * _UNITS[unit])


def suggestion(word: str, known: Any) -> str:
    """`; did you mean 'lookback'?`, or nothing when nothing is near."""
    near = difflib.get_close_matches(word, [str(each) for each in known], n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


@dataclass
class Context:
    """What validation needs to know from outside, and the known keys it learns on the way."""

    folder: Path
    keys: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """By the identity of the mapping that a model read; the mappings live as long as this does."""


class Base(pydantic.BaseModel):
    """Frozen, and strict about keys it does not know."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _note_keys(cls, data: Any, info: pydantic.ValidationInfo) -> Any:
        if isinstance(info.context, Context) and isinstance(data, dict):
            names = (each.alias or name for name, each in cls.model_fields.items())
            info.context.keys[id(data)] = tuple(names)
        return data


def _lookback(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, int) and not isinstance(value, bool):
        found = timedelta(days=min(max(value, -1), 1_000_000))
    elif isinstance(value, str):
        text = value.strip()
        found = timedelta(days=int(text)) if re.fullmatch(r"\d{1,6}", text) else duration(text)
    else:
        raise ValueError("write a number of days, such as 7d")
    if found < timedelta(0):
        raise ValueError("a lookback cannot be negative; 0d switches it off")
    if found % timedelta(days=1):
        raise ValueError("a lookback counts whole days, such as 7d")
    if found > MAX_LOOKBACK:
        raise ValueError(
            f"a lookback is at most {MAX_LOOKBACK.days}d; `tidegate pull --full-refresh` reads all again"
        )
    return found


Lookback = Annotated[
    timedelta,
    BeforeValidator(_lookback, json_schema_input_type=Annotated[int, Field(ge=0, le=600)] | str),
]
"""Whole days, `0d` to `600d`; a plain number counts days."""


DEFAULT_RUNS = timedelta(days=365)
_YEARS = re.compile(r"\s*(\d{1,3})\s*(?:y|years?)\s*\Z", re.IGNORECASE)


def _age(value: Any) -> timedelta | None:
    if value is None or isinstance(value, timedelta):
        return value
    text = str(value).strip() if not isinstance(value, bool) else ""
    if text == "forever":
        return None
    years = _YEARS.match(text)
    if years:
        found = timedelta(days=365 * int(years[1]))
    else:
        try:
            found = timedelta(days=int(text)) if re.fullmatch(r"\d{1,5}", text) else duration(text)
        except ValueError:
            raise ValueError("write how long to keep it: 90d, 52w, 2y, or forever") from None
    if found % timedelta(days=1):
        raise ValueError("this counts whole days, such as 90d")
    if not found:
        raise ValueError("keep it for one day at least, 1d; `forever` keeps everything")
    return found


Age = Annotated[
    timedelta | None,
    BeforeValidator(_age, json_schema_input_type=Annotated[int, Field(ge=1)] | str | None),
]
"""Whole days, weeks, or years of 365 days; `forever` is None."""


def _start_date(value: Any) -> datetime:
    if isinstance(value, datetime):
        found = value
    elif isinstance(value, date):
        found = datetime.combine(value, time())
    else:
        try:
            if not isinstance(value, str):
                raise ValueError
            found = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(
                "write a date such as 2020-01-31, or a time such as 2020-01-31T12:00:00Z"
            ) from None
    try:
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("this date is out of range") from None
    if found > datetime.now(UTC) + timedelta(days=1):
        raise ValueError("the date lies in the future, so that nothing would be pulled")
    return found


StartDate = Annotated[datetime, BeforeValidator(_start_date, json_schema_input_type=str)]
"""A date or a time; without a zone it is UTC."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests a second, per account and per endpoint; infinite where there is no limit."""

    account: float
    endpoint: float

    def __str__(self) -> str:
        if math.isinf(self.account) and math.isinf(self.endpoint):
            return "off"
        return f"{self.account:g}/{self.endpoint:g}"


def _rate_limit(value: Any) -> RateLimit:
    if isinstance(value, RateLimit):
        return value
    text = str(value).strip().lower() if not isinstance(value, bool) else ""
    if text == "off" or value is False:
        return RateLimit(math.inf, math.inf)
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)(?:\s*/\s*(\d{1,6}(?:\.\d+)?))?", text)
    if match is None:
        raise ValueError("write requests a second per account / per endpoint, such as 100/25, or off")
    account = float(match[1])
    endpoint = float(match[2]) if match[2] else account
    if account <= 0 or endpoint <= 0:
        raise ValueError("a rate limit is greater than zero; `off` lifts it")
    return RateLimit(account, min(account, endpoint))


Rate = Annotated[RateLimit, BeforeValidator(_rate_limit, json_schema_input_type=str)]


def _percent(value: Any) -> float:
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*%\s*", value) if isinstance(value, str) else None
    if match is None or not 0 <= float(match[1]) <= 100:
        raise ValueError("write a share from 0% to 100%, such as 20%")
    return float(match[1]) / 100


Percent = Annotated[float, BeforeValidator(_percent, json_schema_input_type=str)]


def _cron(text: str) -> str:
    parts = text.split()
    if len(parts) != 5:
        raise ValueError(
            f"a cron line has 5 fields (minute hour day month weekday), this one has {len(parts)}"
        )
    for part, (name, low, high, names) in zip(parts, _CRON, strict=True):
        for piece in part.split(","):
            span, slash, step = piece.partition("/")
            ends = (
                [low, high] if span == "*" else [_cron_number(end, low, names) for end in span.split("-", 1)]
            )
            right = all(low <= end <= high for end in ends) and ends[0] <= ends[-1]
            if not right or (slash and not re.fullmatch(r"0*[1-9][0-9]{0,3}", step)):
                raise ValueError(
                    f"the {name} field of the cron line is not understood; it counts {low}-{high}"
                )
    line = " ".join(parts)
    try:
        next(cronsim.CronSim(line, datetime(2000, 1, 1)))
    except (cronsim.CronSimError, StopIteration):
        raise ValueError("no month of this cron line has such a day, so that it would never run") from None
    return line


def _cron_number(text: str, low: int, names: tuple[str, ...]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    return int(text) if re.fullmatch(r"[0-9]{1,2}", text) else -1


def _timezone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zones = zoneinfo.available_timezones()
        # Slim images have no zone data at all; then the name cannot be judged here.
        if zones:
            raise ValueError(
                f"no such time zone{suggestion(name, sorted(zones))}; write one such as UTC"
            ) from None
    return name


def _anchor(value: Any) -> time:
    if isinstance(value, time):
        return value
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write a time of day such as "02:00"')
    return time(int(match[1]), int(match[2]))


def _every(value: Any) -> timedelta:
    if not isinstance(value, str | timedelta):
        raise ValueError("write a number and a unit: 15m, 6h or 1d")
    found = duration(value) if isinstance(value, str) else value
    if not timedelta(seconds=10) <= found <= timedelta(days=366) or found.microseconds:
        raise ValueError("a schedule repeats every 10s to every 366d; `continuous` never pauses")
    return found


def _flow_name(text: str) -> str:
    if not _FLOW.match(text):
        raise ValueError("write the name of a pull, pipeline or push, such as everything or pull:everything")
    return text


Timezone = Annotated[str, AfterValidator(_timezone)]


class Cron(Base):
    """By the clock: `{cron: "0 6 * * *", timezone: Europe/Berlin}`."""

    cron: Annotated[str, AfterValidator(_cron)]
    """Five fields: minute, hour, day of the month, month, day of the week."""
    timezone: Timezone = "UTC"
    """The zone the fields are read in."""


class Every(Base):
    """At a fixed pace: `every 15m`, or `{every: 6h, anchor: "02:00"}`."""

    every: Annotated[timedelta, BeforeValidator(_every, json_schema_input_type=str)]
    """The time between two starts: `15m`, `6h`, `1d`."""
    anchor: Annotated[time, BeforeValidator(_anchor, json_schema_input_type=str)] | None = None
    """A time of day that one start falls on; without it, counting begins at the first start."""
    timezone: Timezone = "UTC"
    """The zone of the anchor."""


class After(Base):
    """When another flow has ended well: `{after: everything}`, or one of several: `{after: [pull:eu, pull:us]}`."""

    after: Annotated[
        tuple[Annotated[str, AfterValidator(_flow_name)], ...],
        Field(min_length=1),
        BeforeValidator(
            lambda value: (value,) if isinstance(value, str) else value,
            json_schema_input_type=str | list[str],
        ),
    ]
    """A pull, pipeline or push, or several; `pull:NAME` where several kinds have one of that name."""


def _schedule(value: Any) -> Any:
    """Text becomes one of the forms; a mapping is left for the models to judge."""
    if not isinstance(value, str):
        return value
    text = " ".join(value.split()).lower()
    if text in ("manual", "off"):
        return "manual"
    if text == "continuous":
        return text
    if text.startswith("every "):
        return Every(every=_every(text.removeprefix("every ")))
    raise ValueError(
        "write continuous, manual, every 15m, "
        '{cron: "0 6 * * *"}, {every: 6h, anchor: "02:00"} or {after: NAME}'
        + suggestion(text, ("continuous", "manual"))
    )


def _schedule_kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return "<cron>" if "cron" in value else "<after>" if "after" in value else "<every>"
    kinds: dict[type, str] = {str: "<word>", Every: "<every>", Cron: "<cron>", After: "<after>"}
    return kinds.get(type(value))


Schedule = Annotated[
    Annotated[Literal["continuous", "manual"], Tag("<word>")]
    | Annotated[Every, Tag("<every>")]
    | Annotated[Cron, Tag("<cron>")]
    | Annotated[After, Tag("<after>")],
    Discriminator(_schedule_kind),
    BeforeValidator(_schedule, json_schema_input_type=str | Every | Cron | After),
]
"""`continuous`, `manual` (also `off`), `every 15m`, a cron line, a pace with an anchor, or after other flows."""


def _http_url(value: str) -> str:
    try:
        parts = urllib.parse.urlsplit(value.strip())
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise ValueError("write a URL such as https://api.stripe.com")
    if parts.path.rstrip("/") or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError("write the scheme and the host only, such as https://api.stripe.com")
    return f"{parts.scheme}://{parts.netloc}"


def _not_empty(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("this is empty; is the variable it comes from set?")
    return SecretStr(value.get_secret_value().strip())


def database_url(value: SecretStr, info: pydantic.ValidationInfo) -> SecretStr:
    """A SQLite file, made absolute, or a Postgres server."""
    scheme, colon, rest = value.get_secret_value().strip().partition("://")
    if not colon or not rest.strip("/") or scheme.lower() not in ("sqlite", "postgres", "postgresql"):
        raise ValueError("write sqlite:///FILE, or postgresql://user:password@host/database")
    if scheme.lower() == "sqlite":
        if not rest.startswith("/"):
            raise ValueError("write sqlite:///FILE with three slashes, or four for an absolute path")
        return SecretStr(f"sqlite:///{_from_folder(rest[1:], info)}")
    return SecretStr(f"{scheme.lower()}://{rest}")


def _from_folder(value: str, info: pydantic.ValidationInfo) -> str:
    """A local path, counted from the folder of the configuration; `s3://...` is left as it is."""
    if "://" in value:
        return value
    folder = info.context.folder if isinstance(info.context, Context) else Path.cwd()
    return str(Path(folder, Path(value).expanduser()))


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Secret = Annotated[SecretStr, AfterValidator(_not_empty)]
HttpUrl = Annotated[Text, AfterValidator(_http_url)]
ON_DISK = "on disk"
"""Marks a type whose values name a file or a folder of this machine."""
LocalPath = Annotated[Text, AfterValidator(_from_folder), ON_DISK]
AccountId = Annotated[str, StringConstraints(pattern=r"^acct_[A-Za-z0-9]+$")]
AccountPath = Annotated[str, StringConstraints(pattern=r"^(acct_[A-Za-z0-9]+/)*acct_[A-Za-z0-9]+$")]
