// What every page loads. Editors, charts, the filter builder and the mapper come when a page has one.
import "htmx.org/dist/htmx.esm.js";
import "./page.js";
import "./fits.js";
import "./shortcuts.js";
import "./theme.js";
import "./time.js";
import "./copy.js";
import "./confirm.js";
import "./live.js";
import "./draft.js";
import "./again.js";

const LAZY = {
  "tg-filter": () => import("./filter.js"),
  "tg-mapper": () => import("./mapper.js"),
  "tg-code": () => import("./code.js"),
  "tg-chart": () => import("./chart.js"),
  "tg-pick": () => import("./pick.js"),
};

// What cannot be loaded leaves its text area to be edited by hand, and comes with the network.
function bring() {
  for (const [name, load] of Object.entries(LAZY)) {
    if (customElements.get(name) || !document.querySelector(name)) continue;
    load().catch(() => document.querySelectorAll(name).forEach((each) => each.setAttribute("bare", "")));
  }
}

bring();
window.addEventListener("online", bring);
new MutationObserver((changes) => {
  if (changes.some((change) => change.addedNodes.length)) bring();
}).observe(document.body, { childList: true, subtree: true });
