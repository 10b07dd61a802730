// A select with data-again="URL" decides what other parts of its form offer: fields, columns. When another value is
// chosen, the form is sent there, and its parts with data-fresh are those of the answer; nothing that was typed is lost.
import { say, token } from "./dom.js";

document.addEventListener("change", (event) => {
  const select = /** @type {Element} */ (event.target).closest?.("select[data-again]");
  if (select) ask(/** @type {HTMLSelectElement} */ (select));
});

/** @param {HTMLSelectElement} select */
async function ask(select) {
  const { form } = select;
  const url = select.dataset.again;
  if (!form || !url) return;
  const body = new URLSearchParams(/** @type {any} */ (new FormData(form)));
  form.setAttribute("aria-busy", "true");
  try {
    const headers = { "HX-Request": "true", "X-CSRF-Token": token() };
    const answer = await fetch(url, { method: "POST", body, headers, credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    put(form, new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    say("warn", `What belongs to ${select.value} could not be asked for; names can be typed, and are checked when you save.`);
  } finally {
    form.removeAttribute("aria-busy");
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
    if (next) each.replaceWith(document.adoptNode(next));
  }
  window.htmx.process(form);
  if (id && document.activeElement?.id !== id) document.getElementById(id)?.focus();
}
