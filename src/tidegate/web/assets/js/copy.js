// Text that is copied with one click.

class Copy extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    const code = this.querySelector("code");
    if (!button || !code || !navigator.clipboard) return;
    button.hidden = false;
    const label = button.getAttribute("aria-label") ?? "Copy";
    button.onclick = async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        getSelection()?.selectAllChildren(code);
        return;
      }
      button.setAttribute("aria-label", "Copied");
      this.dataset.copied = "";
      setTimeout(() => {
        button.setAttribute("aria-label", label);
        delete this.dataset.copied;
      }, 1500);
    };
  }
}

customElements.define("tg-copy", Copy);
