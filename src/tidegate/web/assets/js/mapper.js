// The field mapper: which property takes what. A row has a target and where its value comes from: a field, a constant,
// an SQL expression or a template; more of it, such as a type to convert to, stands behind "Options".
import { find, h, icon, id, parsed, put, select } from "./dom.js";
import { kind, typed } from "./operators.js";

/**
 * Where the value of a property comes from, and what else is said about it.
 *
 * @typedef {{target: string, origin: string, value: any, more: Record<string, any>, short: boolean}} Row
 * @typedef {{name: string, type?: string, label?: string}} Field
 * @typedef {{path: string, why?: string}} Suggestion
 * @typedef {{name: string, label: string, choices: any[]}} Option
 */

/** @type {Record<string, string>} */
const ORIGINS = { from: "Field", value: "Constant", sql: "SQL", template: "Template" };
/** @type {Record<string, string>} */
const HINTS = {
  from: "Path, such as address.city",
  value: "The same for all rows",
  sql: "An expression, such as lower(trim(email))",
  template: "Text with {columns} in it",
};

/**
 * A field that may be given as its name alone, or with its type.
 *
 * @param {any} each
 * @returns {Field}
 */
function spec(each) {
  return typeof each === "string" ? { name: each } : Array.isArray(each) ? { name: each[0], type: each[1] } : each;
}

class Mapper extends HTMLElement {
  /** @type {HTMLTextAreaElement} */
  area;
  /** @type {Field[]} */
  targets;
  /** @type {Field[]} */
  sources;
  /** @type {string[]} */
  origins;
  /** @type {Option[]} */
  options;
  /** @type {Map<string, Suggestion[]>} by the target's name */
  suggestions;
  /** @type {HTMLDataListElement} */
  fields;
  /** @type {HTMLDataListElement} */
  names;
  /** @type {HTMLElement} */
  box;
  /** @type {HTMLElement} */
  summary;
  /** @type {HTMLButtonElement} */
  all;
  /** @type {Row[]} */
  rows = [];
  fixed = false;
  free = false; // are the targets anybody's choice?
  raw = false; // is it edited as JSON?

  connectedCallback() {
    if (this.area) return;
    this.setAttribute("hx-morph-skip", "");
    this.area = /** @type {HTMLTextAreaElement} */ (this.querySelector("textarea"));
    this.fixed = this.hasAttribute("readonly");
    this.free = this.hasAttribute("free");
    this.targets = parsed(this.getAttribute("targets"), []).map(spec);
    this.sources = parsed(this.getAttribute("sources"), []).map(spec);
    this.origins = (this.getAttribute("origins") ?? "from value sql").split(" ");
    this.options = parsed(this.getAttribute("options"), []);
    const given = parsed(this.getAttribute("suggestions"), {});
    this.suggestions = new Map(Object.entries(given).map(([name, found]) => [name, [found].flat().map((each) => (typeof each === "string" ? { path: each } : each))]));
    const list = (/** @type {string} */ name, /** @type {Field[]} */ specs) => h("datalist", { id: id(name) }, specs.map((each) => h("option", { value: each.name }, each.label ?? each.type ?? "")));
    this.fields = list("sources", this.sources);
    this.names = list("targets", this.targets);
    this.box = h("div", { class: "tg-mapper-box" });
    this.append(this.fields, this.names, this.box);
    this.area.addEventListener("tg:restored", () => this.read());
    this.read();
  }

  read() {
    const found = parsed(this.area.value, this.area.value.trim() ? null : {});
    this.raw = found === null || typeof found !== "object" || Array.isArray(found) || !Object.values(found).every((each) => this.reads(each));
    this.area.hidden = !this.raw;
    this.box.hidden = this.raw;
    if (this.raw) return;
    this.rows = Object.entries(found).map(([target, value]) => this.row(target, value));
    if (!this.free)
      for (const { name } of this.targets) if (!this.rows.some((row) => row.target === name)) this.rows.push(this.row(name, null));
    if (!this.free) {
      const order = this.targets.map((each) => each.name);
      const rank = (/** @type {Row} */ row) => (order.includes(row.target) ? order.indexOf(row.target) : order.length);
      this.rows.sort((one, other) => rank(one) - rank(other));
    }
    this.draw();
  }

  /**
   * Is this known, so that a row can hold it?
   *
   * @param {any} value
   */
  reads(value) {
    if (typeof value === "string") return true;
    if (typeof value !== "object" || value === null) return false;
    return Object.keys(ORIGINS).filter((origin) => origin in value).length === 1 && this.origins.some((origin) => origin in value);
  }

  /**
   * @param {string} target
   * @param {any} value as `reads` knows it, or null where nothing is mapped
   * @returns {Row}
   */
  row(target, value) {
    if (value === null) return { target, origin: this.origins[0], value: "", more: {}, short: true };
    if (typeof value === "string") return { target, origin: "from", value, more: {}, short: true };
    const origin = this.origins.find((each) => each in value) ?? "";
    const { [origin]: own, ...more } = value;
    return { target, origin, value: own, more, short: false };
  }

  write() {
    /** @type {Record<string, any>} */
    const made = {};
    for (const row of this.rows) {
      if (!row.target || row.value === "" || row.value === undefined) continue;
      const short = row.short && row.origin === "from" && !Object.keys(row.more).length;
      made[row.target] = short ? row.value : { [row.origin]: row.value, ...row.more };
    }
    put(this.area, Object.keys(made).length ? JSON.stringify(made) : "");
    this.count();
  }

  count() {
    if (!this.summary) return;
    const mapped = this.rows.filter((row) => row.value !== "").length;
    const open = this.rows.filter((row) => row.value === "" && this.suggestions.get(row.target)?.length);
    this.summary.textContent = this.free ? `${mapped} mapped` : `${mapped} of ${this.rows.length} mapped`;
    this.all.hidden = this.fixed || open.length < 2;
    this.all.textContent = `Take all ${open.length} suggestions`;
  }

  draw() {
    this.summary = h("span", { class: "faint", role: "status" });
    this.all = h("button", { type: "button", class: "quiet", onclick: () => this.takeAll() });
    const add = this.free && !this.fixed && h("button", {
      type: "button", class: "button",
      onclick: () => {
        this.rows.push(this.row("", null));
        this.draw();
        find(this.box, "li:last-child input")?.focus();
      },
    }, icon("plus"), "Field");
    this.box.replaceChildren(
      h("div", { class: "tg-mapper-head" }, this.summary, this.all),
      h("ul", {}, this.rows.map((row) => this.line(row))),
      h("div", { class: "tg-mapper-foot" }, add),
    );
    this.count();
  }

  takeAll() {
    for (const row of this.rows) {
      const [best] = this.suggestions.get(row.target) ?? [];
      if (row.value === "" && best) Object.assign(row, { origin: "from", value: best.path });
    }
    this.write();
    this.draw();
  }

  /**
   * @param {Element} line
   * @param {Row} row
   * @param {string} focus a selector of what has it then
   */
  redraw(line, row, focus) {
    const made = this.line(row);
    line.replaceWith(made);
    find(made, focus)?.focus();
    this.write();
  }

  /** @param {Row} row */
  line(row) {
    const target = this.targets.find((each) => each.name === row.target);
    const line = h("li", { class: row.value === "" && !this.free ? "tg-map empty-row" : "tg-map" });
    const name = this.free
      ? h("input", { type: "text", value: row.target, list: this.names.id, placeholder: "Field of Stripe", "aria-label": "Target", required: true, disabled: this.fixed, spellcheck: "false", autocomplete: "off",
          onchange: (event) => { row.target = event.target.value.trim(); this.redraw(line, row, ".tg-map-origin"); } })
      : h("span", { class: "tg-map-name" }, h("code", {}, target?.label ?? row.target), target?.type && h("span", { class: "faint" }, target.type));
    const label = row.target || "the field";
    const origin = select(this.origins.map((each) => [each, ORIGINS[each]]), row.origin, {
      class: "tg-map-origin", "aria-label": `${label}: comes from`, disabled: this.fixed,
      onchange: (event) => { Object.assign(row, { origin: event.target.value, value: "", short: false }); this.redraw(line, row, ".tg-map-origin"); },
    });
    const before = row.value;
    const value = h("input", {
      class: `tg-map-value${row.origin === "sql" ? " mono" : ""}`, type: "text", value: String(row.value), placeholder: HINTS[row.origin], "aria-label": `${label}: ${ORIGINS[row.origin].toLowerCase()}`,
      list: row.origin === "from" ? this.fields.id : undefined, disabled: this.fixed, spellcheck: "false", autocomplete: "off",
      oninput: (event) => {
        row.value = row.origin === "value" ? this.constant(event.target.value, target?.type, before) : event.target.value.trim() && event.target.value;
        line.classList.toggle("empty-row", row.value === "" && !this.free);
        this.write();
      },
      onchange: () => this.chips(line, row),
    });
    const remove = !this.fixed && h("button", {
      type: "button", class: "quiet square", "aria-label": `${this.free ? "Remove" : "Clear"} ${label}`,
      onclick: () => {
        if (!this.free) { Object.assign(row, { value: "", more: {} }); this.redraw(line, row, ".tg-map-value"); return; }
        this.rows.splice(this.rows.indexOf(row), 1);
        this.write();
        this.draw();
        find(this.box, ".tg-mapper-foot button")?.focus();
      },
    }, icon("close"));
    line.append(name, h("span", { class: "tg-map-arrow" }, icon("arrow")), origin, value, h("span", { class: "tg-map-end" }, this.more(row, label), remove));
    this.chips(line, row);
    return line;
  }

  /**
   * What was typed, as a value of the target.
   *
   * @param {string} text
   * @param {string | undefined} type
   * @param {any} before
   */
  constant(text, type, before) {
    const of = kind(type);
    if (of === "boolean" && /^(true|false)$/.test(text.trim())) return text.trim() === "true";
    return typed(text, of, before);
  }

  /**
   * Choices such as a type to convert to: {name, label, choices: [value | [value, text]]}; the first is the default.
   *
   * @param {Row} row
   * @param {string} label
   */
  more(row, label) {
    return this.options.map(({ name, label: what, choices }) => {
      const values = choices.map((each) => (Array.isArray(each) ? each : [each, String(each)]));
      const now = values.findIndex(([value]) => value === (row.more[name] ?? values[0][0]));
      return select(values.map(([, text], at) => [String(at), text]), String(Math.max(now, 0)), {
        class: "tg-map-more", "aria-label": `${label}: ${what}`, title: what, disabled: this.fixed,
        onchange: (event) => {
          const at = Number(event.target.value);
          if (at === 0) delete row.more[name];
          else row.more[name] = values[at][0];
          this.write();
        },
      });
    });
  }

  /**
   * What the target is likely to take.
   *
   * @param {Element} line
   * @param {Row} row
   */
  chips(line, row) {
    line.querySelector(".tg-map-chips")?.remove();
    const found = row.value === "" && !this.fixed ? (this.suggestions.get(row.target) ?? []) : [];
    if (!found.length) return;
    line.append(h("span", { class: "tg-map-chips" }, h("span", { class: "faint" }, "Likely:"),
      found.slice(0, 3).map(({ path, why }) => h("button", {
        type: "button", class: "suggestion", title: why, "aria-label": `Take ${path} for ${row.target}`,
        onclick: () => { Object.assign(row, { origin: "from", value: path }); this.redraw(line, row, ".tg-map-value"); },
      }, path))));
  }
}

customElements.define("tg-mapper", Mapper);
