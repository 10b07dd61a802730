// Elements without markup in strings: h("button", { type: "button", onclick: run }, "Run").

const SVG = "http://www.w3.org/2000/svg";
/** @type {Record<string, string>} */
const SHAPES = {
  close: "m3.5 3.5 9 9M12.5 3.5l-9 9",
  plus: "M8 2.5v11M2.5 8h11",
  check: "m2.75 8.5 3.5 3.5 7-8",
  bad: "M2 8a6 6 0 1 0 12 0A6 6 0 1 0 2 8M8 4.75v4M8 11.25v.01",
  warn: "M8 2 14.5 13.5h-13zM8 6.5v3.25M8 11.75v.01",
  arrow: "M13.5 8h-11M6.5 4l-4 4 4 4",
  run: "M5 3.25v9.5l7.5-4.75z",
};

/**
 * Properties, attributes and, by names that start with "on", listeners.
 *
 * @typedef {{[on: `on${string}`]: (event: any) => any, [name: string]: any}} Props
 */

/**
 * An element with its properties, attributes and listeners, and what is in it; false, null and undefined are left out.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Props} [props]
 * @param {any[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  const own = /** @type {Record<string, any>} */ (element);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string") own[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ class: "icon", viewBox: "0 0 16 16", width: "16", height: "16", "aria-hidden": "true" }))
    svg.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/**
 * @param {(string | string[])[]} options values, or values with their texts
 * @param {string} value the one that is chosen
 * @param {Props} [props]
 */
export function select(options, value, props = {}) {
  const made = h("select", props);
  for (const option of options) {
    const [key, text] = Array.isArray(option) ? option : [option, option];
    made.append(h("option", { value: key, selected: key === value }, text));
  }
  return made;
}

/**
 * A line above the page.
 *
 * @param {"ok" | "warn" | "bad"} kind
 * @param {string} text
 * @param {any[]} more
 */
export function say(kind, text, ...more) {
  const place = document.getElementById("said");
  if (!place) return null;
  const line = h(
    "div",
    { class: `said ${kind}` },
    icon(kind === "ok" ? "check" : kind),
    h("p", {}, text, ...more),
    h("button", { type: "button", class: "quiet square", "data-dismiss": true, "aria-label": "Dismiss" }, icon("close")),
  );
  place.replaceChildren(line);
  return line;
}

/** @param {string} name */
export function meta(name) {
  return /** @type {HTMLMetaElement} */ (document.querySelector(`meta[name="${name}"]`))?.content ?? "";
}

export function token() {
  return meta("csrf");
}

let numbers = 0;
/** @param {string} start */
export function id(start) {
  numbers += 1;
  return `${start}-${numbers}`;
}

/**
 * What an attribute holds as JSON, or something else where it holds none.
 *
 * @param {string | null} text
 * @param {any} otherwise
 */
export function parsed(text, otherwise) {
  try {
    return text?.trim() ? JSON.parse(text) : otherwise;
  } catch {
    return otherwise;
  }
}

/**
 * Have a form hear that a hidden input of a component has another value.
 *
 * @param {HTMLInputElement | HTMLTextAreaElement} input
 * @param {string} value
 */
export function put(input, value) {
  if (input.value === value) return;
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

/**
 * The first element within another that can take the focus, by a selector.
 *
 * @param {Element} within
 * @param {string} selector
 * @returns {HTMLElement | null}
 */
export function find(within, selector) {
  return within.querySelector(selector);
}
