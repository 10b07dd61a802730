// Many boxes to tick: found by a part of their name, ticked all at once, and counted. What is not shown stays as it is.
import { h } from "./dom.js";

class Pick extends HTMLElement {
  /** @type {HTMLElement} */
  count;

  connectedCallback() {
    if (this.querySelector(".pick-tools") || !this.boxes.length) return;
    const free = this.boxes.some((each) => !each.disabled);
    const label = this.getAttribute("aria-label") ?? "Find one";
    const found = h("input", { type: "search", placeholder: label, "aria-label": label, autocomplete: "off", "data-draft-skip": true });
    found.addEventListener("input", () => this.show(found.value.trim().toLowerCase()));
    found.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
    const all = h("button", { type: "button", class: "button", onclick: () => this.tick(() => true) }, "All");
    const none = h("button", { type: "button", class: "button", onclick: () => this.tick(() => false) }, "None");
    const usual = h("button", { type: "button", class: "button", onclick: () => this.tick((box) => "recommended" in box.dataset) }, "Recommended");
    this.count = h("span", { class: "faint num", role: "status" });
    this.prepend(h("div", { class: "row pick-tools" }, found, free && [all, none, usual], this.count));
    for (const each of ["change", "tg:restored"]) this.addEventListener(each, () => this.tell());
    this.tell();
  }

  /** @returns {HTMLInputElement[]} */
  get boxes() {
    return [...this.querySelectorAll("input")].filter((each) => each.type === "checkbox");
  }

  /** @param {string} text */
  show(text) {
    for (const item of this.querySelectorAll("li")) item.hidden = !item.textContent.toLowerCase().includes(text);
    for (const part of this.querySelectorAll("section")) part.hidden = !part.querySelector("li:not([hidden])");
    if (text) for (const folded of this.querySelectorAll("details")) folded.open = true;
    this.tell();
  }

  /** @param {(box: HTMLInputElement) => boolean} wanted */
  tick(wanted) {
    for (const box of this.boxes) if (!box.disabled && !box.closest("[hidden]")) box.checked = wanted(box);
    this.dispatchEvent(new Event("change", { bubbles: true }));
  }

  tell() {
    const { boxes } = this;
    const hidden = boxes.filter((each) => each.closest("[hidden]")).length;
    const ticked = boxes.filter((each) => each.checked).length;
    this.count.textContent = `${ticked} of ${boxes.length} chosen${hidden ? `, ${boxes.length - hidden} shown` : ""}`;
  }
}

customElements.define("tg-pick", Pick);
