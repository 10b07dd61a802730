// Forms with data-draft="KEY" lose nothing: what is typed is kept in this browser until it was sent, and sending is
// tried again while there is no network or the server restarts. Passwords and secrets are never kept. Drafts belong to
// who is signed in, and are gone when somebody signs out. A form with data-draft-onward repeats what another one of the
// same key holds, and asks for no more.
import { h, icon, meta, say } from "./dom.js";

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
 * What stands in a form: [name, value] of every input, with the state of boxes.
 *
 * @param {HTMLFormElement} form
 * @returns {[string, string | [string, boolean]][]}
 */
function values(form) {
  return inputs(form).map((each) => [each.name, /^(checkbox|radio)$/.test(each.type) ? [each.value, each.checked] : each.value]);
}

function own() {
  return `${START}${meta("member")}:`;
}

/** @param {HTMLFormElement} form */
function place(form) {
  return own() + form.dataset.draft;
}

/** @param {HTMLFormElement} form */
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
 * @param {[string, string | [string, boolean]][]} kept as `values` has them
 */
function restore(form, kept) {
  const left = inputs(form);
  for (const [name, value] of kept) {
    const at = left.findIndex((each) => each.name === name && (!Array.isArray(value) || each.value === value[0]));
    if (at < 0) continue;
    const [input] = left.splice(at, 1);
    if (Array.isArray(value)) input.checked = value[1];
    else input.value = value;
    input.dispatchEvent(new CustomEvent("tg:restored", { bubbles: true }));
  }
}

/**
 * Of a draft what somebody typed: all else is as the server has it by now, its version, too, so that what others have
 * changed meanwhile stays, and the form can be sent.
 *
 * @param {{ base?: string, values: [string, string | [string, boolean]][] }} draft
 */
function typed({ base, values: kept }) {
  /** @type {unknown[]} */
  const known = base ? JSON.parse(base) : [];
  const before = known.map((each) => JSON.stringify(each));
  return kept.filter(([name, value]) => {
    const at = before.indexOf(JSON.stringify([name, value]));
    if (at >= 0) before.splice(at, 1);
    return at < 0 && name !== "_version";
  });
}

/** @param {HTMLFormElement} form */
function begin(form) {
  if (form.dataset.base !== undefined) return;
  if (form.hasAttribute("data-draft-onward")) form.dataset.base = "";
  if (form.dataset.base === "") return;
  form.dataset.base = JSON.stringify(values(form));
  const found = read(form);
  if (!found || JSON.stringify(found.values) === form.dataset.base) return;
  restore(form, typed(found));
  const at = new Date(found.at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const changed = found.base !== form.dataset.base;
  const text = `What you typed at ${at} is here again${changed ? "; what is saved has changed since" : ""}.`;
  const line = h(
    "div",
    { class: "note draft-note", role: "status" },
    icon("check"),
    h("div", {}, text),
    h("button", { type: "button", class: "button", onclick: () => { forget(form); location.reload(); } }, "Discard"),
  );
  form.prepend(line);
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
