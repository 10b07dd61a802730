// A chart of figures that are read from a URL: {"times": [RFC 3339], "series": [{"label", "values", "unit"}]}.
import uPlot from "uplot";
import { h } from "./dom.js";

const COLOURS = ["--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5"];
const HEIGHT = 200;
const ROWS = 60; // of the table of figures

/**
 * @typedef {{label: string, unit?: string, values: (number | null)[]}} Series
 * @typedef {{times: number[], series: Series[]}} Figures of which the times are unix seconds
 */

/** @param {number | null} value */
function short(value) {
  return value === null ? "" : new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

/**
 * A tick of the time axis: the day at midnight, else the time.
 *
 * @param {number} seconds
 */
function moment(seconds) {
  const at = new Date(seconds * 1000);
  const midnight = !at.getHours() && !at.getMinutes();
  return at.toLocaleString("en-GB", midnight ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" });
}

/**
 * A colour of the style sheet as canvases take it.
 *
 * @param {Element} element
 * @param {string} name of the property
 * @param {number} alpha
 */
function resolved(element, name, alpha) {
  const probe = h("span", { hidden: true });
  probe.style.color = `var(${name})`;
  element.append(probe);
  const [red, green, blue] = getComputedStyle(probe).color.match(/[\d.]+/g) ?? [];
  probe.remove();
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
}

class Chart extends HTMLElement {
  /** @type {Figures | null} */
  data = null;
  /** @type {uPlot | null} */
  plot = null;
  sized = new ResizeObserver(() => this.plot?.setSize({ width: this.clientWidth, height: HEIGHT }));
  dark = matchMedia("(prefers-color-scheme: dark)");
  drawn = () => this.draw();

  connectedCallback() {
    this.setAttribute("hx-morph-skip", "");
    this.sized.observe(this);
    document.addEventListener("tg:theme", this.drawn);
    this.dark.addEventListener("change", this.drawn);
    this.load();
  }

  disconnectedCallback() {
    this.sized.disconnect();
    document.removeEventListener("tg:theme", this.drawn);
    this.dark.removeEventListener("change", this.drawn);
    this.plot?.destroy();
  }

  async load() {
    try {
      const answer = await fetch(this.getAttribute("src") ?? "", { headers: { Accept: "application/json" }, credentials: "same-origin" });
      if (!answer.ok) throw new Error(String(answer.status));
      /** @type {{times: string[], series: Series[]}} */
      const { times, series } = await answer.json();
      this.data = { times: times.map((at) => Date.parse(at) / 1000), series };
    } catch {
      this.replaceChildren(h("p", { class: "faint" }, "The figures could not be read; load the page again."));
    }
    if (this.isConnected) this.draw();
    this.dataset.drawn = "";
  }

  draw() {
    if (!this.data) return;
    const { times, series } = this.data;
    if (!times.length) {
      this.replaceChildren(h("p", { class: "faint" }, "No figures yet."));
      return;
    }
    const style = getComputedStyle(this);
    const colour = (/** @type {string} */ name, alpha = 1) => resolved(this, name, alpha);
    const bars = this.getAttribute("kind") === "bars";
    /** @param {number} index */
    const paths = (index) => (bars && series.length < 3 ? uPlot.paths.bars?.(series.length === 1 ? { size: [0.7, 20] } : { size: [0.36, 12], align: index ? 1 : -1 }) : undefined);
    const axis = { size: 28, stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `11px ${style.fontFamily}` };
    this.plot?.destroy();
    this.replaceChildren();
    this.plot = new uPlot(
      {
        width: this.clientWidth,
        height: HEIGHT,
        series: [
          { label: "Time", value: (_, at) => (at === null ? "–" : new Date(at * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })) },
          ...series.map(({ label, unit = "" }, index) => ({
            label,
            stroke: colour(COLOURS[index % COLOURS.length]),
            fill: (bars && series.length < 3) || series.length === 1 ? colour(COLOURS[index % COLOURS.length], bars ? 0.8 : 0.12) : undefined,
            width: bars ? 0 : 1.5,
            points: { show: times.length === 1 },
            paths: paths(index),
            value: (/** @type {uPlot} */ _, /** @type {number | null} */ value) => (value === null ? "–" : `${value.toLocaleString("en")}${unit ? ` ${unit}` : ""}`),
          })),
        ],
        axes: [{ ...axis, values: (_, ticks) => ticks.map(moment) }, { ...axis, size: 48, values: (_, ticks) => ticks.map(short) }],
        scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high ?? 0) > 0 ? high * 1.05 : 1] } },
        cursor: { y: false, points: { size: 6 } },
      },
      [times, ...series.map((each) => each.values)],
      this,
    );
    this.append(this.figures(times, series));
  }

  /**
   * The same for those who do not see the chart.
   *
   * @param {number[]} times
   * @param {Series[]} series
   */
  figures(times, series) {
    const from = Math.max(0, times.length - ROWS);
    const rows = times.slice(from).map((at, index) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, new Date(at * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })),
        series.map((each) => h("td", {}, each.values[from + index]?.toLocaleString("en") ?? "–")),
      ),
    );
    const head = h("tr", {}, h("th", { scope: "col" }, "Time"), series.map((each) => h("th", { scope: "col" }, each.label)));
    return h("details", { class: "figures" }, h("summary", {}, "Figures"), h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
  }
}

customElements.define("tg-chart", Chart);
