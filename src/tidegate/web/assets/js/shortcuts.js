// `/` goes to the search, `g` and a letter to a page, `?` shows what there is.
import { h, icon } from "./dom.js";

const PATIENCE = 2000; // milliseconds between `g` and the letter
let going = 0;

/** @param {KeyboardEvent} event */
function typing(event) {
  const target = /** @type {HTMLElement} */ (event.composedPath()[0]);
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName ?? "");
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
  if (document.querySelector("dialog[open]")) return;
  const gone = Date.now() - going < PATIENCE;
  going = 0;
  if (gone) {
    /** @type {HTMLAnchorElement | null} */
    const link = document.querySelector(`a[data-go="${CSS.escape(event.key)}"]`);
    if (link) {
      event.preventDefault();
      location.href = link.href;
    }
  } else if (event.key === "g") going = Date.now();
  else if (event.key === "?") show();
  else if (event.key === "/") {
    /** @type {HTMLInputElement | null} */
    const search = document.querySelector("[data-search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
    search.select();
  }
});

document.addEventListener("click", (event) => {
  if (/** @type {Element} */ (event.target).closest("[data-shortcuts]")) show();
});

function show() {
  const links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("a[data-go]")]);
  /** @type {[string[], string][]} */
  const lines = [
    [["?"], "Show this"],
    [["/"], "Search on this page"],
    [["Esc"], "Close what is open"],
    ...links.map((link) => /** @type {[string[], string]} */ ([["g", link.dataset.go], link.textContent.trim()])),
  ];
  if (document.querySelector("tg-code"))
    lines.push([["Ctrl", "Enter"], "Run the test of an editor"], [["Esc", "Tab"], "Leave an editor"]);
  const close = h("button", { type: "button", class: "quiet square", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"));
  const dialog = h(
    "dialog",
    { class: "dialog shortcuts", "aria-label": "Keyboard shortcuts", onclose: () => dialog.remove() },
    h("header", {}, h("h2", {}, "Keyboard shortcuts"), close),
    h("dl", {}, lines.map(([keys, text]) => h("div", {}, h("dt", {}, keys.map((key) => h("kbd", {}, key))), h("dd", {}, text)))),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}
