// What pages do by themselves: flash lines go, tables search while somebody types, rows lead to their page,
// and requests of htmx carry the session's token.
import { say, token } from "./dom.js";

const PAUSE = 250; // milliseconds without a key after which a search is sent
const AGAIN = 10000; // milliseconds after which a form may be sent once more from a page that stayed

document.addEventListener("click", (event) => {
  const dismiss = /** @type {Element} */ (event.target).closest("[data-dismiss]");
  if (dismiss) dismiss.closest(".said")?.remove();
  const row = /** @type {Element} */ (event.target).closest("table.rows tbody tr");
  if (!row || /** @type {Element} */ (event.target).closest("a, button, input, select, label, summary, dialog, textarea")) return;
  if (window.getSelection()?.toString()) return;
  /** @type {HTMLAnchorElement | null} */
  const link = row.querySelector("a.row-link");
  if (!link) return;
  if (event.metaKey || event.ctrlKey) window.open(link.href, "_blank", "noopener");
  else link.click();
});

// The tab that is shown is in view, also where there is room for few.
for (const each of document.querySelectorAll(".tabs [aria-current]")) {
  const current = /** @type {HTMLElement} */ (each);
  const tabs = current.parentElement;
  if (!tabs) continue;
  tabs.scrollLeft = current.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - current.clientWidth) / 2;
}

let waiting = 0;
document.addEventListener("input", (event) => {
  const input = /** @type {Element} */ (event.target);
  /** @type {HTMLFormElement | null} */
  const form = input.closest("form[data-quick]");
  if (!form || !input.matches("input")) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => form.isConnected && form.requestSubmit(), PAUSE);
});
document.addEventListener("change", (event) => {
  const input = /** @type {Element} */ (event.target);
  /** @type {HTMLFormElement | null} */
  const form = input.closest("form[data-quick], form[data-submit]");
  if (form && input.matches("select, input[type=checkbox]")) form.requestSubmit();
});
document.addEventListener("submit", (event) => {
  if (/** @type {Element} */ (event.target).matches("form[data-quick]")) clearTimeout(waiting);
});

document.addEventListener("htmx:config:request", (event) => {
  const { request } = /** @type {CustomEvent} */ (event).detail.ctx;
  if (request.method === "GET") {
    // An address says what was asked for, and nothing of what was not.
    for (const [name, value] of [...(request.body ?? [])]) if (value === "") request.body.delete(name);
    request.action = request.action.split("?")[0] + kept(request.action, request.body);
  } else {
    request.headers["X-CSRF-Token"] = token();
  }
});

/**
 * What an address asked for already, but for what a form says anew.
 *
 * @param {string} action
 * @param {FormData | undefined} body
 */
function kept(action, body) {
  const found = new URLSearchParams(action.split("?")[1] ?? "");
  for (const name of [...(body?.keys() ?? [])]) found.delete(name);
  return found.size ? `?${found}` : "";
}

document.addEventListener("htmx:error", (event) => {
  const { detail } = /** @type {CustomEvent} */ (event);
  if (detail?.error instanceof TypeError || detail?.ctx?.request?.signal?.reason === "timeout")
    say("bad", "The server did not answer; check the connection and try again.");
});

// What is pressed twice is sent once, until the page is left and come back to.
document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.getAttribute("method")?.toLowerCase() !== "post" || form.dataset.draft || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  else {
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, AGAIN);
  }
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete (/** @type {HTMLFormElement} */ (form).dataset.sent);
});
