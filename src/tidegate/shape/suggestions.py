"""Likely pairs for a mapping: which field of a stream fits a property of the model, how well, and why.

Names are compared word by word, where many words mean the same. Values of a sample tell whether they fit the type
of the property, and what they look like. The same schema and sample always give the same suggestions.
"""

from __future__ import annotations

import datetime as dt
import decimal
import difflib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tidegate.shape import casting, mapping, profile, targets, values
from tidegate.warehouse import ddl

SURE = 0.75
"""Scores from here on need no second look."""

LEAST = 0.45
"""Lower scores are no suggestion."""

SAMPLE = 1_000
"""Rows of a sample that are looked at."""

MOST_KEYS = 500
"""Keys inside JSON that are looked at, the most frequent ones."""

_DEPTH = 3
_OTHERS = 3
_ALIKE = 0.8
_SHARE = 0.8
"""The share of values that must look like something, or fit a type."""

_SAME = {
    word: group[0]
    for group in (
        ("email", "mail", "emailaddress"),
        ("phone", "telephone", "tel", "mobile", "cell", "cellphone", "phonenumber", "msisdn"),
        ("company", "organisation", "organization", "org", "business", "firm", "employer"),
        ("plan", "tier", "package", "edition"),
        ("postal", "zip", "zipcode", "postcode", "plz"),
        ("city", "town", "locality"),
        ("state", "region", "province", "county"),
        ("country", "nation", "countrycode"),
        ("language", "lang", "locale", "locales", "languages"),
        ("created", "signup", "registered", "joined", "since", "createdat"),
        ("date", "at", "on", "time", "day"),
        ("birthday", "dob", "birthdate", "birth"),
        ("first", "given", "forename", "firstname"),
        ("last", "family", "surname", "lastname"),
        ("name", "fullname", "displayname"),
        ("id", "uid", "identifier", "key"),
        ("website", "url", "homepage", "domain", "site"),
        ("seats", "licenses", "licences", "users"),
        ("vat", "taxid", "vatin"),
        ("description", "note", "notes", "comment"),
        ("currency", "ccy"),
    )
    for word in group
}
_WEAK = frozenset((
    "address", "at", "code", "customer", "date", "day", "field", "full", "id", "is", "my", "name", "no", "number",
    "of", "on", "the", "time", "user",
))  # fmt: skip
"""Words that say little about what stands in a field."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_LOOKS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("email", "e-mail addresses", re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")),
    ("phone", "phone numbers", re.compile(r"(?=(?:\D*\d){7,15}\D*\Z)\+?[0-9(][0-9 ()./-]+")),
    ("country", "country codes", re.compile(r"[A-Z]{2}")),
    ("currency", "currency codes", re.compile(r"[A-Z]{3}|[a-z]{3}")),
    ("language", "languages", re.compile(r"[a-z]{2,3}(?:[-_][A-Z]{2})?")),
    ("website", "web addresses", re.compile(r"(?:https?://)?(?:[\w-]+\.)+[a-z]{2,}(?:/\S*)?", re.IGNORECASE)),
)
_LIKE: tuple[tuple[Callable[[pa.DataType], bool], object], ...] = (
    (pa.types.is_integer, 1),
    (pa.types.is_floating, 0.5),
    (pa.types.is_decimal, decimal.Decimal("0.5")),
    (pa.types.is_boolean, True),
    (pa.types.is_timestamp, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
)
"""A value that stands for those of a column that no sample shows; of text there is none."""

_TELLING = frozenset(("email", "phone"))
"""Looks that say what something is whatever its name."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A field that a property may come from: its score from 0 to 1, and what speaks for it and against."""

    source: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The likeliest field of one property, if there is any, and the next ones.

    A field is the likeliest of one property at most. `sure`: nobody needs to look at it again.
    """

    name: str
    best: Candidate | None
    others: tuple[Candidate, ...]

    @property
    def sure(self) -> bool:
        """Is the likeliest field as good as certain?"""
        return self.best is not None and self.best.score >= SURE


@dataclass(frozen=True, slots=True)
class _Source:
    """A field with the values that a sample has of it; `is_empty`: the sample has none."""

    path: str
    name: str
    depth: int
    values: tuple[object, ...]
    is_empty: bool


def suggest(
    model: profile.Profile,
    schema: pa.Schema,
    samples: pa.Table | None = None,
    *,
    stream: str = mapping.CUSTOMERS,
) -> tuple[Suggestion, ...]:
    """For each property of the model, in its order, the fields of a stream that it may come from.

    `samples` are some rows of the stream; what stands inside JSON is known from them, and from what a customer of
    Stripe always has.
    """
    usual = [each.source for each in model.properties if each.source and stream == mapping.CUSTOMERS]
    sources = _sources(schema, samples, usual)
    looks = {source.path: _looks(source.values) for source in sources}
    found: dict[str, list[Candidate]] = {}
    for each in model.properties:
        scored = [_candidate(each, source, looks[source.path], usual) for source in sources]
        likely = [candidate for candidate in scored if candidate.score >= LEAST]
        found[each.name] = sorted(likely, key=lambda one: (-one.score, one.source))
    best = _best(found)
    return tuple(
        Suggestion(
            name,
            best.get(name),
            tuple(one for one in candidates if one is not best.get(name))[:_OTHERS],
        )
        for name, candidates in found.items()
    )


def _best(found: dict[str, list[Candidate]]) -> dict[str, Candidate]:
    """The best pairs first, each property and each field once."""
    order = {name: place for place, name in enumerate(found)}
    pairs = sorted(
        ((name, one) for name, candidates in found.items() for one in candidates),
        key=lambda pair: (-pair[1].score, order[pair[0]], pair[1].source),
    )
    best: dict[str, Candidate] = {}
    taken: set[str] = set()
    for name, one in pairs:
        if name not in best and one.source not in taken:
            best[name] = one
            taken.add(one.source)
    return best


def _candidate(
    of: profile.Property, source: _Source, looks: Sequence[str], usual: Sequence[str]
) -> Candidate:
    score, reasons = _named(of, source, is_usual=of.source == source.path and source.path in usual)
    shown = {look: name for look, name, _ in _LOOKS}
    look = _look(of.name)
    if look in looks:
        score = max(score + 0.15, 0.6 if look in _TELLING else 0.0)
        reasons.append(f"its values look like {shown[look]}")
    elif look in shown and score and any(isinstance(value, str) for value in source.values):
        score -= 0.3
        reasons.append(f"its values do not look like {shown[look]}")
    if source.is_empty and score:
        score -= 0.2
        reasons.append("the sample has no value of it")
    share = _fitting(of.target, source.values) if score else None
    if share is not None and share < _SHARE:
        score *= share
        reasons.append(
            f"{'none' if not share else 'only some'} of its values fit {targets.WANTS[of.target.type]}"
        )
    return Candidate(source.path, round(min(max(score, 0.0), 1.0), 3), "; ".join(reasons))


def _named(of: profile.Property, source: _Source, *, is_usual: bool) -> tuple[float, list[str]]:
    """How much the names say, and how they do."""
    if is_usual:
        return 1.0, ["it is Stripe's own field for it"]
    deep = 0.02 * source.depth
    if of.name.lower() == source.name.lower():
        return (0.97 if not source.depth else 0.92) - deep, ["same name"]
    alike = _alike(of.name, source.name)
    if alike < 1.0 and source.depth:
        # `billing_city` may well be `billing.city`; what stands first is often only where all the rest is kept.
        inner = source.path.partition(".")[2]
        alike = max(alike, 0.95 * _alike(of.name, source.path), 0.95 * _alike(of.name, inner))
    if alike < 0.5:
        return 0.0, []
    return 0.9 * alike - deep, [f"{source.path} looks like {of.name}"]


def _alike(wanted: str, given: str) -> float:
    """How alike two names are, from 0 to 1; words that only mean the same count a little less."""
    words = _words(wanted), _words(given)
    return max(_overlap(*words), 0.95 * _overlap(*map(_meant, words)))


def _overlap(wanted: Sequence[str], given: Sequence[str]) -> float:
    """The share of words that two names have both, where some words weigh little."""
    left = list(given)
    common = 0.0
    for word in wanted:
        near = word if word in left else next(iter(difflib.get_close_matches(word, left, 1, _ALIKE)), None)
        if near is not None:
            left.remove(near)
            common += _weight(word) * (1.0 if near == word else 0.9)
    total = sum(map(_weight, wanted)) + sum(map(_weight, given))
    return 2 * common / total if total else 0.0


def _weight(word: str) -> float:
    return 0.2 if word in _WEAK else 1.0


def _words(name: str) -> list[str]:
    """The words of a name: `billingE-Mail` is `billing`, `email`."""
    text = re.sub(r"e[-_ ]mail", "email", name, flags=re.IGNORECASE)
    return [word.lower() for word in _WORD.findall(text)]


def _meant(words: Sequence[str]) -> list[str]:
    """Words as they are usually meant: `tel` and `mobile` are `phone`."""
    whole = "".join(words)
    return [_SAME[whole]] if whole in _SAME else [_SAME.get(word, word) for word in words]


def _look(name: str) -> str:
    """What a property's values should look like, by the last word of its name that says something."""
    telling = [word for word in _meant(_words(name)) if word not in _WEAK]
    return telling[-1] if telling else ""


def _looks(held: Iterable[object]) -> list[str]:
    """What most values look like."""
    texts = [value.strip() for value in held if isinstance(value, str) and value.strip()]
    return [
        look
        for look, _, pattern in _LOOKS
        if texts and sum(1 for text in texts if pattern.fullmatch(text)) >= _SHARE * len(texts)
    ]


def _fitting(target: targets.Target, held: Sequence[object]) -> float | None:
    """The share of values that a type can hold; None where there is none to look at."""
    if not held:
        return None
    return 1 - len(casting.objects(held, target).unfit) / len(held)


def _sources(schema: pa.Schema, samples: pa.Table | None, usual: Sequence[str]) -> list[_Source]:
    """Every field: columns, and keys inside JSON that were seen or are usual."""
    found: list[_Source] = []
    counts: Counter[tuple[str, ...]] = Counter()
    held: dict[tuple[str, ...], list[object]] = {}
    for field in schema:
        if field.name.startswith("_"):
            continue
        sampled = samples is not None and field.name in samples.column_names and samples.num_rows > 0
        seen = _sampled(samples.column(field.name), field) if samples is not None and sampled else []
        if ddl.is_json(field):
            for path, value in itertools.chain.from_iterable(_walked((field.name,), each) for each in seen):
                counts[path] += 1
                if value is not None:
                    held.setdefault(path, []).append(value)
        like = [] if sampled else [like for holds, like in _LIKE if holds(field.type)]
        is_empty = sampled and not seen
        found.append(_Source(field.name, field.name, 0, tuple(seen or like), is_empty))
    known = {path for path in map(values.path, usual) if len(path) > 1 and path[0] in schema.names}
    often = set(sorted(sorted(counts), key=lambda path: -counts[path])[:MOST_KEYS])
    for path in sorted(often | known):
        inner = tuple(held.get(path, ()))
        found.append(_Source(dotted(path), path[-1], len(path) - 1, inner, path in counts and not inner))
    return found


def _sampled(column: pa.ChunkedArray, field: pa.Field) -> list[object]:
    """Some values of a column, JSON as Python has it."""
    seen = [each for each in casting.python(column[:SAMPLE]) if each is not None]
    return [casting.value(str(each).encode()) for each in seen] if ddl.is_json(field) else seen


def _walked(path: tuple[str, ...], document: object) -> Iterable[tuple[tuple[str, ...], object]]:
    """Every key inside an object, those inside others too."""
    if isinstance(document, dict) and len(path) <= _DEPTH:
        for key, value in document.items():
            if key:
                yield (*path, key), value
                yield from _walked((*path, key), value)


def dotted(path: tuple[str, ...]) -> str:
    """A path as a mapping writes it."""
    return ".".join(
        '"' + step.replace('"', '""') + '"' if "." in step or step.startswith('"') else step for step in path
    )
