// Marks the tables that need not be moved sideways: only there can the head stay in view.
const watch = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    if (!(target instanceof HTMLElement)) continue;
    const frame = target.closest(".scroll");
    frame?.toggleAttribute("data-fits", target.offsetWidth <= frame.clientWidth);
  }
});

function look() {
  watch.disconnect();
  for (const table of document.querySelectorAll(".scroll > table.rows")) {
    watch.observe(table);
  }
}

look();
window.addEventListener("resize", look);
new MutationObserver((changes) => {
  if (changes.some((change) => [...change.addedNodes].some((each) => each.nodeType === Node.ELEMENT_NODE))) look();
}).observe(document.body, { childList: true, subtree: true });
