// What who reads by ear, or goes by keyboard, would stumble over: nothing, on a page that is whole.
() => {
  const found = [];
  const named = (each) => each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")
    || each.getAttribute("title") || each.textContent.trim() || each.querySelector("img[alt], svg[aria-label]");
  const say = (each, what) => found.push(`${what}: ${each.outerHTML.slice(0, 120)}`);
  const shown = (each) => each.checkVisibility({ visibilityProperty: true });
  for (const each of document.querySelectorAll("input, select, textarea")) {
    if (["hidden", "submit", "button"].includes(each.type) || !shown(each)) continue;
    const said = each.getAttribute("aria-label") || each.getAttribute("aria-labelledby");
    if (!each.labels?.length && !said) say(each, "no label");
  }
  for (const each of document.querySelectorAll("button, a[href], summary, [role=button]"))
    if (shown(each) && !named(each)) say(each, "no name");
  for (const each of document.querySelectorAll("img:not([alt])")) say(each, "no alt");
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  for (const id of new Set(ids.filter((each, at) => ids.indexOf(each) !== at))) found.push(`id twice: ${id}`);
  for (const attribute of ["for", "aria-describedby", "aria-labelledby", "aria-controls"])
    for (const each of document.querySelectorAll(`[${attribute}]`))
      for (const id of each.getAttribute(attribute).split(/\s+/).filter(Boolean))
        if (!document.getElementById(id)) say(each, `${attribute} of nothing`);
  let last = 0;
  for (const each of document.querySelectorAll("h1, h2, h3, h4")) {
    const level = Number(each.tagName[1]);
    if (level > last + 1) say(each, "heading skips a level");
    last = level;
  }
  for (const each of document.querySelectorAll("table:not([role])"))
    if (!each.querySelector("th")) say(each, "table without headings");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (!document.documentElement.lang) found.push("no language");
  if (document.querySelector("script:not([src])")) found.push("inline script");
  return found;
}
