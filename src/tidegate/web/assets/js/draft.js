// Forms with data-draft="KEY" lose nothing: what is typed is kept in this browser until it was sent, and sending is
// tried again while there is no network or the server restarts. Passwords and secrets are never kept. Drafts belong to
// who is signed in, and are gone when somebody signs out. A form with data-draft-onward repeats what another one of the
// same key holds, and asks for no more.
import "./again.js"; // hears of what is restored
import { h, icon, meta, say } from "./dom.js";

/**
 * What stands in an input: its name and its value, of a check box what it stands for and whether it is ticked.
 *
 * @typedef {[string, string | [string, boolean]]} Entry
 * @typedef {{ at: number, base?: string, values: Entry[] }} Draft
 */

const START = "tidegate.draft.";
const PAUSE = 200;
const KEPT = 14 * 86400e3; // milliseconds for which a draft is kept
const FIRST = 1000;
const LONGEST = 8000;
const RESTARTING = [502, 503, 504];

/** @param {HTMLFormElement} form */
function inputs(form) {
  return /** @type {HTMLInputElement[]} */ ([...form.elements]).filter(
    (each) =>
      each.name && each.name !== "_csrf" && !["password", "file", "submit", "button"].includes(each.type) &&
      !each.closest("[data-draft-skip], [data-secret]"),
  );
}

/**
 * What stands in a form; of radio buttons the one that is chosen.
 *
 * @param {HTMLFormElement} form
 * @returns {Entry[]}
 */
function values(form) {
  return inputs(form)
    .filter((each) => each.type !== "radio" || each.checked)
    .map((each) => [each.name, each.type === "checkbox" ? [each.value, each.checked] : each.value]);
}

function own() {
  return `${START}${meta("member")}:`;
}

/** @param {HTMLFormElement} form */
function place(form) {
  return own() + form.dataset.draft;
}

/**
 * @param {HTMLFormElement} form
 * @returns {Draft | null}
 */
function read(form) {
  try {
    const found = JSON.parse(localStorage.getItem(place(form)) ?? "null");
    return found && Date.now() - found.at < KEPT ? found : null;
  } catch {
    return null;
  }
}

/** @param {HTMLFormElement} form */
function keep(form) {
  if (form.dataset.saved) return;
  try {
    const now = JSON.stringify(values(form));
    if (now === form.dataset.base) localStorage.removeItem(place(form));
    else localStorage.setItem(place(form), JSON.stringify({ at: Date.now(), base: form.dataset.base, values: JSON.parse(now) }));
  } catch {
    // No room, or no storage in this browser: the form works without.
  }
}

/** @param {HTMLFormElement} form */
function forget(form) {
  form.dataset.saved = "yes";
  localStorage.removeItem(place(form));
}

/**
 * @param {HTMLFormElement} form
 * @param {Entry[]} kept
 */
function restore(form, kept) {
  const left = inputs(form);
  for (const [name, value] of kept) {
    const of = Array.isArray(value) ? value[0] : value;
    const at = left.findIndex((each) => each.name === name && (!/^(checkbox|radio)$/.test(each.type) || each.value === of));
    if (at < 0) continue;
    const [input] = left.splice(at, 1);
    const ticked = Array.isArray(value) ? value[1] : input.type === "radio" || input.checked;
    if (input.checked === ticked && input.value === of) continue;
    input.checked = ticked;
    input.value = of;
    input.dispatchEvent(new CustomEvent("tg:restored", { bubbles: true }));
  }
}

/**
 * Entries by which input each is of: its name, of boxes what they stand for, and which one of several that are alike.
 *
 * @param {Entry[]} found
 * @returns {Map<string, Entry>}
 */
function keyed(found) {
  const made = new Map();
  for (const entry of found) {
    const key = JSON.stringify([entry[0], Array.isArray(entry[1]) ? entry[1][0] : null]);
    let nth = 0;
    while (made.has(key + nth)) nth += 1;
    made.set(key + nth, entry);
  }
  return made;
}

/**
 * @param {Entry | undefined} one
 * @param {Entry | undefined} other
 */
function same(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/**
 * A draft with what the server has by now: `typed` is what somebody typed; all else is as the server has it, so that
 * what others have changed meanwhile stays. `both` are the names of what was typed here and changed there; for them
 * `base` has what the draft began with, as does the version, which the server refuses.
 *
 * @param {Draft} draft
 * @param {Entry[]} shown
 */
function merged(draft, shown) {
  const before = keyed(draft.base ? JSON.parse(draft.base) : []);
  const now = keyed(shown);
  const typed = [...keyed(draft.values)].filter(([key, entry]) => entry[0] !== "_version" && !same(entry, before.get(key)));
  const both = typed.filter(([key, entry]) => !same(now.get(key), before.get(key)) && !same(now.get(key), entry));
  const base = new Map(now);
  for (const [key] of both) {
    const began = before.get(key);
    if (began) base.set(key, began);
    else base.delete(key);
  }
  /** @type {(entries: Iterable<Entry>) => string | undefined} */
  const version = (entries) => [...entries].find(([name]) => name === "_version")?.[1].toString();
  const [then, latest] = [version(draft.values) ?? "", version(shown)];
  const clash = both.length > 0 && latest !== undefined && latest !== then;
  return {
    typed: typed.map(([, entry]) => entry),
    both: clash ? both.map(([, [name]]) => name) : [],
    base: [...base.values()].map((entry) => (entry[0] === "_version" ? /** @type {Entry} */ (["_version", then]) : entry)),
    then,
  };
}

/**
 * What an input is called on the page.
 *
 * @param {HTMLFormElement} form
 * @param {string} name
 */
function title(form, name) {
  const input = inputs(form).find((each) => each.name === name);
  const part = input?.closest("tg-filter, tg-mapper") && input.closest(".card")?.querySelector("h2")?.textContent;
  const group = input?.closest("[role=radiogroup]")?.getAttribute("aria-label");
  return (group || part || input?.labels?.[0]?.firstChild?.textContent || input?.getAttribute("aria-label") || name).trim();
}

/** @param {HTMLFormElement} form */
function begin(form) {
  if (form.dataset.base !== undefined) return;
  if (form.hasAttribute("data-draft-onward")) form.dataset.base = "";
  if (form.dataset.base === "") return;
  const found = read(form);
  if (found) form.reset(); // a browser that goes back fills in what was typed by itself
  const shown = values(form);
  const base = JSON.stringify(shown);
  form.dataset.base = base;
  if (!found) return;
  lead();
  if (JSON.stringify(found.values) === base) {
    if (found.base) form.dataset.base = found.base; // what the server has sent back is still what was typed
    return;
  }
  const { typed, both, base: began, then } = merged(found, shown);
  restore(form, typed);
  const at = new Date(found.at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const text = h("p", {}, `What you typed at ${at} is here again${found.base !== base ? "; what is saved has changed since" : ""}.`);
  const discard = h("button", { type: "button", class: "button", onclick: () => { forget(form); location.reload(); } }, "Discard");
  const line = h("div", { class: "note draft-note", role: "status" }, icon("check"), h("div", {}, text), discard);
  form.prepend(line);
  if (!both.length) return;
  // Until somebody decides, the form has the version that it was typed for, and the server does not save it.
  const version = /** @type {HTMLInputElement} */ (form.querySelector("input[name=_version]"));
  const latest = version.value;
  version.value = then;
  form.dataset.base = JSON.stringify(began);
  const names = [...new Set(both)].map((name) => `\u201c${title(form, name)}\u201d`).join(", ");
  text.after(h("p", {}, `Meanwhile ${names} ${both.length > 1 ? "were" : "was"} changed, too. What you typed there can be saved once you choose to keep it in place of that.`));
  const mine = h("button", {
    type: "button", class: "button",
    onclick: () => {
      version.value = latest;
      form.dataset.base = base;
      keep(form);
      text.nextElementSibling?.remove();
      text.textContent = "What you typed is kept; it is saved in place of what was changed meanwhile.";
      discard.focus();
      mine.remove();
    },
  }, "Keep mine");
  discard.before(mine);
}

/** The way on from a form that the server refused, for the version that it was typed for, where its draft is kept. */
function lead() {
  for (const link of document.querySelectorAll("main [data-draft-link]")) link.removeAttribute("hidden");
}

/** @param {ParentNode} root */
function start(root) {
  for (const form of root.querySelectorAll("form[data-draft]")) begin(/** @type {HTMLFormElement} */ (form));
}

document.addEventListener("submit", (event) => {
  if (!/\/sign-out(\/|$)/.test(/** @type {Element} */ (event.target).getAttribute("action") ?? "")) return;
  for (const key of Object.keys(localStorage)) if (key.startsWith(own())) localStorage.removeItem(key);
});

const timers = new WeakMap();
document.addEventListener("input", (event) => {
  /** @type {HTMLFormElement | null} */
  const form = /** @type {Element} */ (event.target).closest?.("form[data-draft]");
  if (!form) return;
  clearTimeout(timers.get(form));
  timers.set(form, setTimeout(() => keep(form), PAUSE));
});
document.addEventListener("change", (event) => {
  /** @type {HTMLFormElement | null} */
  const form = /** @type {Element} */ (event.target).closest?.("form[data-draft]");
  if (form) keep(form);
});

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (!form.matches("form[data-draft]") || event.defaultPrevented) return;
  event.preventDefault();
  if (!form.dataset.sending) send(form, event.submitter);
});

/**
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} submitter
 */
async function send(form, submitter) {
  const body = new FormData(form, submitter);
  const url = submitter?.getAttribute("formaction") ?? form.getAttribute("action") ?? location.href;
  const key = crypto.randomUUID?.() ?? String(Math.random());
  keep(form);
  form.dataset.sending = "yes";
  form.setAttribute("aria-busy", "true");
  let answer = null;
  let line = null;
  for (let wait = FIRST; form.isConnected; wait = Math.min(wait * 2, LONGEST)) {
    try {
      answer = await fetch(url, {
        method: "POST",
        body: form.getAttribute("enctype") === "multipart/form-data" ? body : new URLSearchParams(/** @type {any} */ (body)),
        headers: { "HX-Request": "true", "X-CSRF-Token": String(body.get("_csrf") ?? ""), "Idempotency-Key": key },
        credentials: "same-origin",
      });
    } catch {
      answer = null;
    }
    if (answer && !RESTARTING.includes(answer.status)) break;
    line ??= say("warn", "The server does not answer. What you typed is kept in this browser, and is sent as soon as it does.");
    await new Promise((done) => setTimeout(done, wait));
  }
  line?.remove();
  delete form.dataset.sending;
  form.removeAttribute("aria-busy");
  if (answer && form.isConnected) await settle(form, answer);
}

/**
 * @param {HTMLFormElement} form
 * @param {Response} answer
 */
async function settle(form, answer) {
  const onward = answer.headers.get("HX-Redirect");
  const signIn = (onward ?? (answer.redirected ? new URL(answer.url).pathname : "")).startsWith("/sign-in");
  if (onward || answer.redirected) {
    if (!signIn) forget(form);
    location.href = onward ?? answer.url;
    return;
  }
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  const action = form.getAttribute("action");
  const drafts = /** @type {HTMLFormElement[]} */ ([...found.querySelectorAll("main form[data-draft]")]);
  const next = drafts.find((each) => each.getAttribute("action") === action);
  if (next) {
    next.dataset.draft = form.dataset.draft;
    if (heading(found) === heading(document)) again(form, next, found);
    else turn(found, next);
    return;
  }
  if (answer.ok) localStorage.removeItem(place(form));
  const said = found.querySelector(".said p, .failed p:not(.failed-code), main p")?.textContent.trim();
  say(answer.ok ? "ok" : "bad", said || (answer.ok ? "Saved." : `The server answered ${answer.status}; nothing was changed.`));
  window.scrollTo({ top: 0 });
}

/** @param {Document} page */
function heading(page) {
  return page.querySelector("main h1")?.textContent.trim();
}

/**
 * The same page with what is wrong in it; what was typed stays, also what the server does not repeat.
 *
 * @param {HTMLFormElement} form
 * @param {HTMLFormElement} next
 * @param {Document} found
 */
function again(form, next, found) {
  const given = values(form);
  const hidden = /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll("input[type=password]")]);
  const { base } = form.dataset;
  turn(found, next, base);
  restore(next, given);
  for (const { name, value } of hidden) {
    /** @type {HTMLInputElement | null} */
    const input = next.querySelector(`input[type=password][name="${CSS.escape(name)}"]`);
    if (input && !input.value) input.value = value;
  }
  keep(next);
  if (read(next)) lead();
  /** @type {HTMLElement | null} */
  const wrong = next.querySelector("[aria-invalid=true]") ?? document.querySelector("main [role=alert]");
  if (wrong?.matches("[role=alert]")) wrong.tabIndex = -1;
  wrong?.focus();
}

/**
 * Another page, such as the recap of what is typed, in the place of this one; what its form has is kept as it is.
 *
 * @param {Document} found
 * @param {HTMLFormElement} form
 */
function turn(found, form, base = "") {
  const main = /** @type {HTMLElement} */ (document.querySelector("main"));
  /** @type {Node} */
  const came = document.adoptNode(/** @type {Node} */ (found.querySelector("main")));
  form.dataset.base = base;
  document.title = found.title;
  const said = /** @type {HTMLElement} */ (document.getElementById("said"));
  said.replaceChildren();
  main.replaceChildren(said, ...came.childNodes);
  window.htmx.process(main);
  start(main);
  main.focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}

start(document);
document.addEventListener("htmx:after:swap", () => start(document));
