/** What scripts that are loaded elsewhere put into the window. */
interface Window {
  /** Of htmx.org, which `app.js` loads. */
  htmx: {
    /** Make what was put into the page by hand work as what came with it. */
    process(element: Element): void;
    /** Put text into the page as an answer would be. */
    swap(told: { sourceElement: Element; target: Element; text: string; swap: string }): void;
  };
}
