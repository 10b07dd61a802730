// A select with data-again="URL" decides what other parts of its form offer: fields, columns. When another value is
// chosen, the form is sent there, and its parts with data-fresh are those of the answer; nothing that was typed is lost,
// neither what cannot be read yet nor what was typed while the answer was on its way.
import { say, token } from "./dom.js";

/** @type {WeakMap<HTMLFormElement, AbortController>} the newest call of each form; no other one counts */
const calls = new WeakMap();
/** @type {WeakSet<HTMLFormElement>} forms that are being restored */
const due = new WeakSet();

document.addEventListener("change", (event) => {
  const select = /** @type {Element} */ (event.target).closest?.("select[data-again]");
  if (select) ask(/** @type {HTMLSelectElement} */ (select));
});
document.addEventListener("tg:restored", (event) => {
  const select = /** @type {HTMLSelectElement} */ (event.target);
  const { form } = select;
  if (!form || !select.matches("select[data-again]") || due.has(form)) return;
  due.add(form);
  // By then the whole of the draft is there.
  queueMicrotask(() => {
    due.delete(form);
    ask(select);
  });
});

/** @param {HTMLSelectElement} select */
async function ask(select) {
  const { form } = select;
  const url = select.dataset.again;
  if (!form || !url) return;
  const body = new URLSearchParams(/** @type {any} */ (new FormData(form)));
  const call = new AbortController();
  calls.get(form)?.abort();
  calls.set(form, call);
  form.setAttribute("aria-busy", "true");
  try {
    const headers = { "HX-Request": "true", "X-CSRF-Token": token() };
    const answer = await fetch(url, { method: "POST", body, headers, credentials: "same-origin", signal: call.signal });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    const text = await answer.text();
    if (!call.signal.aborted) put(form, new DOMParser().parseFromString(text, "text/html"));
  } catch {
    if (call.signal.aborted) return;
    say("warn", `What belongs to ${select.value} could not be asked for; names can be typed, and are checked when you save.`);
  } finally {
    if (calls.get(form) === call) form.removeAttribute("aria-busy");
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {Document} found
 */
function put(form, found) {
  const id = document.activeElement?.id;
  for (const each of form.querySelectorAll("[data-fresh]")) {
    const next = found.getElementById(each.id);
    const code = each.querySelector("tg-code");
    // An editor stays as it is, with its cursor and what can be undone; what it asks for its tests is new.
    if (code) for (const { name, value } of next?.querySelector("tg-code")?.attributes ?? []) code.setAttribute(name, value);
    else if (next) renew(each, document.adoptNode(next));
  }
  window.htmx.process(form);
  if (id && document.activeElement?.id !== id) document.getElementById(id)?.focus();
}

/**
 * A part of the answer in the place of its former self, with what is typed there by now.
 *
 * @param {Element} old
 * @param {Element} next
 */
function renew(old, next) {
  const refocus = focused(old);
  const areas = [...next.querySelectorAll("textarea")];
  // Before it is in the document, where components read it.
  for (const [at, { value }] of [...old.querySelectorAll("textarea")].entries()) if (areas[at]) areas[at].value = value;
  /** @type {any} */
  const before = old.querySelector("tg-filter, tg-mapper");
  old.replaceWith(next);
  /** @type {any} */
  const made = next.querySelector("tg-filter, tg-mapper");
  if (before?.raw === false && made?.raw === false && made.free) {
    made.rows = before.rows; // also those that have no value yet
    made.draw();
  } else if (before?.raw && made?.raw === false) made.turn?.();
  refocus(next);
}

/**
 * Where somebody types within a part, for the same place of the next one.
 *
 * @param {Element} old
 * @returns {(next: Element) => void}
 */
function focused(old) {
  const active = /** @type {HTMLInputElement | null} */ (document.activeElement);
  const label = active?.getAttribute("aria-label");
  if (!active || !label || !old.contains(active)) return () => {};
  /** @type {(part: Element) => HTMLInputElement[]} */
  const alike = (part) => [...part.querySelectorAll(`[aria-label="${CSS.escape(label)}"]`)].map((each) => /** @type {any} */ (each));
  const nth = alike(old).indexOf(active);
  const written = active.matches("textarea, input[type=text]");
  const { value, selectionStart, selectionEnd } = active;
  // A mapper hears of a name that is being typed when the focus leaves it.
  if (active.matches("tg-mapper input")) active.blur();
  return (next) => {
    const input = alike(next)[nth];
    input?.focus();
    if (!input || !written || !input.matches("textarea, input[type=text]")) return;
    if (input.value !== value) input.value = value;
    input.setSelectionRange(selectionStart, selectionEnd);
  };
}
