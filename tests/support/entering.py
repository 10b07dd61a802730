"""Members who sign in as a browser does it: load the page, fill its form in, send it."""

from __future__ import annotations

import re

from guessing import GOOD
from signing import Answer, Client

from tidegate.engine import place as places
from tidegate.server import passwords
from tidegate.store import membership, people

BY = membership.By("the test", "cli")


def token(answer: Answer) -> str:
    """The CSRF token in a page's form."""
    found = re.search(r'name="_csrf" value="([^"]*)"', answer.text)
    assert found, answer.text
    return found[1]


def sign_in(browser: Client, name: str, password: str = GOOD, **headers: str) -> Answer:
    """Load the page, fill the form in, send it."""
    page = browser.get("/sign-in")
    form = {"_csrf": token(page), "name": name, "password": password, "next": "/account"}
    return browser.post("/sign-in", form, **headers)


def act(browser: Client, path: str, form: dict[str, str] | None = None) -> Answer:
    """Send a form of the account page."""
    return browser.post(path, {"_csrf": token(browser.get("/account")), **(form or {})})


def member(place: places.Place, name: str = "ann@example.com", role: people.Role = "admin") -> people.Member:
    """A member whose password is `GOOD`."""
    return membership.add(place.store, BY, name, role, password=passwords.hashed(GOOD))
