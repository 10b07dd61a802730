"""Every page of the whole application, as an admin comes to it by its links: drawn, reachable, and fit for all.

The application is the demo that the pictures of the documentation are made of.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import types
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import browsing
import pytest
import signing
from playwright import sync_api

ROOT = Path(__file__).parents[2]
MOST = 4
"""Pages of one pattern that are looked at: of hundreds of streams a few tell as much."""
FORMS = """() => [...document.querySelectorAll('form[method="post"]')].flatMap((form) => {
  const buttons = [...form.elements].filter((each) => each.type === "submit" && !each.disabled);
  return (buttons.length ? buttons : [null]).map((button) => ({
    action: button?.getAttribute("formaction") ?? form.getAttribute("action"),
    sent: [...new FormData(form, button)].filter(([, value]) => typeof value === "string"),
  }));
})"""
"""Where the forms of a page lead, by each of their buttons, with what they send as they stand."""
LAST = re.compile(r"^/sign-out|^/account")
"""What ends the session that asks."""
NO_PAGES = re.compile(
    r"^/(static|api)/|format=csv|/sign-in\?|^/settings/about/licences|^/settings/configuration/export"
)
"""Addresses that are downloads, or lead elsewhere."""
ELSEWHERE = re.compile(r"/at-stripe$|/rows$|ask=yes$")
"""Pages that ask Stripe, each time."""
ACCESSIBLE = (Path(browsing.__file__).parent / "accessible.js").read_text(encoding="utf-8")
"""What who reads by ear, or goes by keyboard, would stumble over."""
AXE = ROOT / ".dev" / "web" / "node_modules" / "axe-core" / "axe.min.js"
"""What `./dev setup` installs beside the packages of the pages."""
FOUND = """async (options) => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"], ...options });
  return violations.filter(({ impact }) => impact !== "minor").flatMap(({ id, impact, nodes }) =>
    nodes.map(({ html, failureSummary }) => `${impact} ${id}: ${html.slice(0, 160)} ${failureSummary}`));
}"""
"""What axe has to say of a page: its rules for WCAG 2.2 A and AA, and its best practices, but for trifles."""
MORE = (
    "/syncs/customers_to_stripe/mapping",
    "/syncs/customers_to_stripe/records",
    "/syncs/customers_to_stripe/schedule",
    "/syncs/plans_to_stripe/edit",
    "/syncs/-/add",
    "/models/scores/edit",
    "/pipelines/customers/versions",
    "/settings/alerts/edit",
    "/customers/-/why",
    "/nothing",
)
"""Pages without a picture that look otherwise than those that have one."""


@pytest.fixture(scope="module")
def screens() -> types.ModuleType:
    """The module that makes the pictures."""
    spec = importlib.util.spec_from_file_location("screens", ROOT / "docs" / "screens.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["screens"] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def site(
    screens: types.ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Where it is served, the secret of an admin's session, and the pages by name."""
    with screens.furnished(tmp_path_factory.mktemp("site"), 300) as found:
        yield found.url, found.secret, screens.pages(found)


def visit(page: sync_api.Page, url: str, secret: str) -> None:
    page.context.add_cookies([{"name": "tidegate", "value": secret, "url": url}])


def pattern(path: str) -> str:
    """What an address has in common with others of its kind: `/streams/*/*?sort`."""
    parts = urllib.parse.urlsplit(path)
    steps = parts.path.split("/")
    fixed = [each if at < 2 or each.startswith("-") else "*" for at, each in enumerate(steps)]
    names = sorted(urllib.parse.parse_qs(parts.query))
    return "/".join(fixed) + "?" + "&".join(names)


def links(page: sync_api.Page, url: str) -> list[str]:
    """The addresses of this site that a page leads to."""
    found: list[str] = page.eval_on_selector_all("a[href]", "all => all.map((each) => each.href)")
    own = [each.removeprefix(url).partition("#")[0] for each in found if each.startswith(url + "/")]
    return [each for each in dict.fromkeys(own) if not NO_PAGES.search(each)]


def test_every_link_leads_to_a_page_that_is_whole(
    site: tuple[str, str, dict[str, str]], page: sync_api.Page
) -> None:
    """The page fixture fails where the policy is violated or a script does."""
    url, secret, named = site
    visit(page, url, secret)
    waiting, seen, counts, wrong = ["/", *named.values()], set[str](), dict[str, int](), list[str]()
    while waiting:
        path = waiting.pop(0)
        kind = pattern(path)
        if path in seen or (path not in named.values() and counts.get(kind, 0) >= MOST):
            continue
        seen.add(path)
        counts[kind] = counts.get(kind, 0) + 1
        if ELSEWHERE.search(path) and counts[kind] > 1:
            continue
        answer = page.goto(url + path)
        assert answer is not None
        if answer.status != 200:
            wrong.append(f"{path}: {answer.status}")
            continue
        page.wait_for_load_state("load")
        title = page.title()
        if not title.endswith(" · Tidegate") or len(title) < 14:
            wrong.append(f"{path}: the title is {title!r}")
        wrong += [f"{path}: {each}" for each in page.evaluate(ACCESSIBLE)]
        waiting += [each for each in links(page, url) if each not in seen]
    assert not wrong, "\n".join(wrong)
    assert len(seen) > len(named)


def test_axe_finds_nothing_on_any_page(site: tuple[str, str, dict[str, str]], page: sync_api.Page) -> None:
    """In the dark the colours alone are others."""
    url, secret, named = site
    visit(page, url, secret)
    axe = AXE.read_text(encoding="utf-8")
    wrong = []
    for path in (*named.values(), *MORE):
        page.emulate_media(color_scheme="light", reduced_motion="reduce")
        page.goto(url + path)
        page.wait_for_function("() => !document.querySelector(':not(:defined)')")
        page.evaluate(axe)
        wrong += [f"{path}: {each}" for each in page.evaluate(FOUND, {})]
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        wrong += [f"{path}, dark: {each}" for each in page.evaluate(FOUND, {"runOnly": ["color-contrast"]})]
    assert not wrong, "\n".join(wrong)


def test_the_head_of_a_long_table_stays_in_view(
    site: tuple[str, str, dict[str, str]], page: sync_api.Page
) -> None:
    """Of one that is as wide as its place; a wider one is moved sideways in a frame of its own."""
    url, secret, _ = site
    visit(page, url, secret)
    page.goto(url + "/streams")
    page.wait_for_selector("#streams .scroll[data-fits]")
    page.mouse.wheel(0, 1500)
    page.wait_for_function("() => scrollY > 1000")
    head = page.locator("#streams thead th").first.bounding_box()
    assert head is not None
    assert head["y"] == pytest.approx(0, abs=1)
    page.set_viewport_size({"width": 840, "height": 600})
    page.goto(url + "/streams/demo/charges/rows")
    frame = page.locator(".scroll").first
    assert frame.evaluate("(each) => each.scrollWidth > each.clientWidth")
    assert frame.get_attribute("data-fits") is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_read_well_on_a_telephone(
    site: tuple[str, str, dict[str, str]], narrow: sync_api.Page, scheme: str
) -> None:
    url, secret, named = site
    visit(narrow, url, secret)
    narrow.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    wrong = []
    for path in named.values():
        narrow.goto(url + path)
        narrow.wait_for_load_state("load")
        wrong += [f"{path} is wider than the window: {each}" for each in browsing.overflow(narrow)]
        wrong += [f"{path}: {each}" for each in browsing.poor_contrast(narrow)]
    assert not wrong, "\n".join(wrong)


def test_every_form_works_without_javascript(
    site: tuple[str, str, dict[str, str]], page: sync_api.Page
) -> None:
    """What is sent as it stands, without the headers of htmx, is answered by a whole page, or by the way to one."""
    url, secret, named = site
    visit(page, url, secret)
    forms: dict[str, tuple[str, dict[str, list[str]]]] = {}
    for path in (*named.values(), "/customers/-/rules"):
        page.goto(url + path)
        for each in page.evaluate(FORMS):
            sent: dict[str, list[str]] = {}
            for name, value in each["sent"]:
                sent.setdefault(name, []).append(value)
            action = each["action"]
            kind = action.partition("?")[0] if "/-/" in action else pattern(action)
            forms.setdefault(kind, (action, sent))
    client = signing.Client(url, jar={"tidegate": secret})
    wrong = []
    for action, sent in sorted(forms.values(), key=lambda each: bool(LAST.search(each[0]))):
        answer = client.post(action, sent)
        kind = answer.headers.get("content-type", "")
        whole = kind.startswith("text/html") and answer.text.lstrip().lower().startswith("<!doctype html>")
        if answer.status != 303 and not whole:
            wrong.append(f"{action}: {answer.status} {kind} {answer.text[:80]!r}")
        if answer.status >= 500:
            wrong.append(f"{action}: {answer.status}")
    assert not wrong, "\n".join(wrong)
    assert {"/pipelines/-/test", "/customers/-/preview"} <= {path for path, _ in forms.values()}
