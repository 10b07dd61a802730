// A region whose HTML comes by server-sent events: `html` has the new content, `end` says that it is final.
//
// It connects again by itself when the server was away, and lets go while nobody looks at the page, so that many
// open tabs leave connections to the one that is looked at.

const FIRST = 1000;
const LONGEST = 15000;
const AWAY = 5000; // milliseconds without a connection after which the region says so

class Live extends HTMLElement {
  static observedAttributes = ["src"];
  wait = FIRST;
  ended = false;
  /** @type {EventSource | null} */
  source = null;
  /** @type {() => void} */
  onvisible = () => (document.hidden ? this.close() : this.open());
  /** @type {ReturnType<typeof setTimeout> | undefined} of the next attempt */
  again;
  /** @type {ReturnType<typeof setTimeout> | undefined} of saying that there is no connection */
  missed;

  /**
   * @param {string} _name
   * @param {string | null} before
   * @param {string | null} after
   */
  attributeChangedCallback(_name, before, after) {
    if (before === null || before === after) return;
    this.ended = false;
    this.close();
    this.open();
  }

  connectedCallback() {
    this.wait = FIRST;
    this.ended = false;
    document.addEventListener("visibilitychange", this.onvisible);
    this.open();
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.onvisible);
    this.close();
  }

  open() {
    if (this.source || this.ended || !this.isConnected || document.hidden) return;
    clearTimeout(this.again);
    const source = new EventSource(this.getAttribute("src") ?? "");
    this.source = source;
    source.onopen = () => {
      this.wait = FIRST;
      this.state("live");
    };
    source.addEventListener("html", (event) => this.show(event));
    source.addEventListener("end", (event) => {
      if (event.data) this.show(event);
      this.ended = true;
      this.close();
      this.state("ended");
      this.dispatchEvent(new CustomEvent("tg:end", { bubbles: true }));
    });
    source.onerror = () => {
      // The browser's own attempts end with the first answer that is no stream, which a server that restarts gives.
      this.close();
      this.missed ??= setTimeout(() => this.state("waiting"), AWAY);
      this.again = setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(this.wait * 2, LONGEST);
    };
  }

  close() {
    clearTimeout(this.again);
    this.source?.close(); // what it still has to say is of another address
    this.source = null;
  }

  /** @param {MessageEvent} event */
  show(event) {
    window.htmx.swap({ sourceElement: this, target: this, text: event.data, swap: "innerMorph" });
  }

  /** @param {"live" | "waiting" | "ended"} name */
  state(name) {
    clearTimeout(this.missed);
    this.missed = undefined;
    this.dataset.state = name;
  }
}

customElements.define("tg-live", Live);
