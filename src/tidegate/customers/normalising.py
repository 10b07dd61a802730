"""Identifiers in the one form in which they are compared; what cannot tell customers apart is none.

Normalising is idempotent, and two values are one exactly where their normal forms are equal.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from tidegate.customers import names
from tidegate.shape import values

_WORDS = (
    r"n/?a|n\.a\.?|none|null|nil|nan|undefined|unknown|not ?(available|applicable|provided|set)|no ?(e-?mail|phone)"
    r"|anonymous|blank|empty|missing|tb[ad]|todo|test"
)
PLACEHOLDER = re.compile(rf"[\W_]*|0+|x+|[(<]?({_WORDS})[)>]?")
"""What people write, in small letters, where a value is missing; all of a text must be it."""

_NOBODY = re.compile(r"unknown|none|null|undefined|anonymous|(no|do)[-_.]?(not[-_.]?)?(reply|e?mail)")
"""Names before the @ of addresses that belong to nobody."""
_RESERVED = re.compile(r"(^|\.)(invalid|localhost)$")
"""Domains that no one can have and people write in for none; `example.com` is what test data has, and links.
https://www.rfc-editor.org/rfc/rfc2606"""
_MAILTO = re.compile(r"\A(mailto:\s*)+")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_EXTENSION = re.compile(r"(\s*(ext|extn|extension|x|#|;ext=|durchwahl|poste)\.?\s*:?\s*\d{1,7}\s*)$", re.I)
_PHONE = frozenset(["phone", "telephone", "tel", "mobile", "cell", "cellphone", "fax", "msisdn"])
_EMAIL = frozenset(["email", "mail", "emails"])
_WORD = re.compile(r"[a-z]+")


def normalised(kind: str, value: object) -> str | None:
    """A value of an identifier as it is compared; None for one that must link nothing.

    The identifier's name tells what it is: `email` or `billing_email` an address, `phone` or `mobile_phone` a
    number, all others plain text. Longer than `names.LONGEST` becomes a digest. Booleans, lists and objects are no
    identifiers.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    words = _WORD.findall(kind.lower().replace("e_mail", "email").replace("e-mail", "email"))
    text = plain(str(value))
    if text is None:
        return None
    found: str | None
    if _DIGEST.fullmatch(text):
        found = text
    elif not _EMAIL.isdisjoint(words):
        found = email(text)
    elif not _PHONE.isdisjoint(words):
        found = phone(text)
    else:
        found = text
    if found is None or len(found) <= names.LONGEST:
        return found
    return "sha256:" + hashlib.sha256(found.encode()).hexdigest()


def plain(value: str) -> str | None:
    """Text without spaces around it, in Unicode's composed form; None when it stands for nothing."""
    found = _composed(values.clean(value).replace("\0", "")).strip()
    return None if PLACEHOLDER.fullmatch(found.casefold()) else found


def email(value: str) -> str | None:
    """An address: no spaces around it, no capitals; dots and what follows a plus make a difference.

    Whatever has no name and no domain is no address. Those of nobody (`unknown@...`, `...@x.invalid`) are none.
    """
    found = _MAILTO.sub("", _folded(value))
    name, _, domain = found.rpartition("@")
    if not name or not domain or any(mark.isspace() for mark in found):
        return None
    if _NOBODY.fullmatch(name) or _RESERVED.search(domain):
        return None
    return found


def phone(value: str) -> str | None:
    """A number: its digits, after a plus where it has its country's code; 00 in front is a plus.

    A number without the code stays without, and is none of any country. Extensions are cut, and so is the (0) that
    is not dialled from abroad. Fewer than six digits, more than 20, or one and the same digit throughout, belong to
    nobody.
    """
    found = unicodedata.normalize("NFKC", value).strip().lower().removeprefix("tel:")
    found = _EXTENSION.sub("", found)
    if found.startswith(("+", "(+", "00")):
        found = found.replace("(0)", "")
    digits = "".join(str(unicodedata.digit(mark)) for mark in found if mark.isdigit())
    is_whole = found.lstrip("( ").startswith("+")
    if not is_whole and digits.startswith("00"):
        is_whole, digits = True, digits[2:]
    if not 6 <= len(digits) <= 20 or len(set(digits)) == 1:
        return None
    return f"+{digits}" if is_whole else digits


def _composed(value: str) -> str:
    return value if value.isascii() else unicodedata.normalize("NFC", value)


def _folded(value: str) -> str:
    """Without case, composed; folding may undo the composition and composing may bring back what folds."""
    found, before = value.strip(), ""
    while found != before:
        before, found = found, _composed(found.casefold()).strip()
    return found
