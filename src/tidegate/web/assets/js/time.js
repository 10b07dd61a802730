// A moment in the reader's own zone; pointing at it shows UTC, to the second, and how long ago it was.

/** @type {Intl.DateTimeFormatOptions} */
const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const today = new Intl.DateTimeFormat("en-GB", clock);
const exact = new Intl.DateTimeFormat("en-GB", { ...clock, second: "2-digit" });
const year = new Intl.DateTimeFormat("en-GB", { ...clock, day: "numeric", month: "short" });
const other = new Intl.DateTimeFormat("en-GB", { ...clock, day: "numeric", month: "short", year: "numeric" });
const ago = new Intl.RelativeTimeFormat("en", { numeric: "always" });
/** @type {[number, Intl.RelativeTimeFormatUnit][]} */
const STEPS = [[60, "second"], [3600, "minute"], [86400, "hour"], [30 * 86400, "day"], [365 * 86400, "month"], [Infinity, "year"]];

/**
 * A moment in the reader's zone, as short as it can be from now.
 *
 * @param {Date} moment
 * @param {Date} [now]
 * @param {boolean} [precise] to the second
 */
export function local(moment, now = new Date(), precise = false) {
  const day = (/** @type {Date} */ date) => `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;
  if (day(moment) === day(now)) return (precise ? exact : today).format(moment);
  const text = (moment.getFullYear() === now.getFullYear() ? year : other).format(moment);
  return precise ? `${text.replace(/,? \d\d:\d\d$/, "")}, ${exact.format(moment)}` : text;
}

/** @param {number} seconds from now, less than none where it is over */
export function distance(seconds) {
  let unit = 1;
  for (const [below, name] of STEPS) {
    if (Math.abs(seconds) < below) return ago.format(Math.trunc(seconds / unit), name);
    unit = below;
  }
  return "";
}

class Time extends HTMLElement {
  connectedCallback() {
    this.show();
  }

  show() {
    const time = this.querySelector("time");
    const moment = new Date(time?.dateTime ?? "");
    if (!time || Number.isNaN(moment.getTime())) return;
    time.textContent = local(moment, new Date(), this.hasAttribute("precise"));
    const utc = moment.toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
    const say = () => (this.title = `${utc}, ${distance((moment.getTime() - Date.now()) / 1000)}`);
    time.removeAttribute("title");
    say();
    this.onpointerenter = say;
  }
}

customElements.define("tg-time", Time);

// What comes from the server is written in UTC, also where it is put into elements that stand.
document.addEventListener("htmx:after:swap", () => document.querySelectorAll("tg-time").forEach((each) => /** @type {Time} */ (each).show()));
