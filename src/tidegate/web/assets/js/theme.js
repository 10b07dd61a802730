// Auto, light or dark. A cookie keeps the choice, so that the server writes the page in it at once.

const COOKIE = "tidegate_theme";
const YEAR = 31536000;

class Theme extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", "Colours");
    this.addEventListener("click", this);
    this.mark();
  }

  disconnectedCallback() {
    this.removeEventListener("click", this);
  }

  /** @param {Event} event */
  handleEvent(event) {
    /** @type {HTMLElement | null} */
    const chosen = /** @type {Element} */ (event.target).closest("[data-theme-choice]");
    if (!chosen) return;
    const theme = chosen.dataset.themeChoice;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `${COOKIE}=${theme}; Path=/; Max-Age=${theme ? YEAR : 0}; SameSite=Lax${secure}`;
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    /** @type {HTMLMetaElement | null} */
    const scheme = document.querySelector('meta[name="color-scheme"]');
    if (scheme) scheme.content = theme || "light dark";
    document.dispatchEvent(new CustomEvent("tg:theme"));
    this.mark();
  }

  mark() {
    const theme = document.documentElement.dataset.theme ?? "";
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (this.querySelectorAll("[data-theme-choice]")))
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === theme));
  }
}

customElements.define("tg-theme", Theme);
