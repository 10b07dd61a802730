// Asks before what cannot be taken back: a dialog that says what and how many, and may want words to be typed.
// Without JavaScript the same form unfolds below the button.

class Confirm extends HTMLElement {
  connectedCallback() {
    this.querySelector("summary")?.addEventListener("click", this);
  }

  /** @param {Event} event */
  handleEvent(event) {
    const details = this.querySelector("details");
    const form = details?.querySelector("form");
    if (!details || !form) return;
    event.preventDefault();
    const send = /** @type {HTMLButtonElement} */ (form.querySelector("button[type=submit]"));
    /** @type {HTMLInputElement | null} */
    const typed = form.querySelector("input[name=words]");
    const keep = /** @type {HTMLButtonElement} */ (form.querySelector("[data-close]"));
    const check = () => (send.disabled = typed !== null && typed.value.trim() !== this.dataset.words);
    const dialog = document.createElement("dialog");
    dialog.className = "dialog confirm-dialog";
    dialog.setAttribute("aria-label", form.querySelector(".confirm-title")?.textContent ?? "Are you sure?");
    dialog.append(form);
    dialog.addEventListener("click", (click) => click.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      // The form goes back to where the server wrote it, where pages that renew themselves look for it.
      this.removeAttribute("hx-morph-skip");
      details.append(form);
      dialog.remove();
    });
    keep.hidden = false;
    keep.onclick = () => dialog.close();
    if (typed) {
      typed.value = "";
      typed.oninput = check;
    }
    check();
    this.setAttribute("hx-morph-skip", "");
    this.append(dialog);
    dialog.showModal();
    (typed ?? keep).focus();
  }
}

customElements.define("tg-confirm", Confirm);
