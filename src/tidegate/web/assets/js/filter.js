// The filter builder: conditions in groups of all and any, nested at will. What it makes stands as JSON in the text
// area that it replaces, and a tree that it does not know is left there to be edited by hand.
import { find, h, icon, id, parsed, put, select } from "./dom.js";
import { DATES, FOLDING, LISTS, RANGES, UNARY, kind, operators, readTime, readTree, writeTree } from "./operators.js";
import { valuesOf } from "./filter_values.js";

/**
 * @typedef {import("./operators.js").Condition} Condition
 * @typedef {import("./operators.js").Group} Group
 * @typedef {import("./operators.js").Part} Part
 * @typedef {import("./filter_values.js").Field} Field
 */

class Filter extends HTMLElement {
  /** @type {HTMLTextAreaElement} */
  area;
  /** @type {Field[]} */
  fields;
  /** @type {Map<string, string | undefined>} */
  types;
  /** @type {HTMLDataListElement} */
  list;
  /** @type {HTMLElement} */
  box;
  /** @type {HTMLButtonElement} */
  toggle;
  fixed = false;
  /** @type {Group} */
  tree = { join: "all", parts: [], bare: true };
  raw = false; // is it edited as JSON?

  connectedCallback() {
    if (this.area) return;
    this.setAttribute("hx-morph-skip", "");
    this.area = /** @type {HTMLTextAreaElement} */ (this.querySelector("textarea"));
    this.fixed = this.hasAttribute("readonly");
    this.fields = parsed(this.getAttribute("fields"), []).map((/** @type {any} */ each) =>
      typeof each === "string" ? { name: each } : Array.isArray(each) ? { name: each[0], type: each[1] } : each,
    );
    this.types = new Map(this.fields.map((each) => [each.name, each.type]));
    this.list = h("datalist", { id: id("fields") }, this.fields.map((each) => h("option", { value: each.name }, each.label ?? each.type ?? "")));
    this.box = h("div", { class: "tg-filter-box" });
    this.toggle = h("button", { type: "button", class: "quiet", onclick: () => this.turn() });
    this.append(this.list, this.box, h("div", { class: "tg-filter-foot" }, this.toggle));
    this.area.addEventListener("tg:restored", () => this.read());
    this.read();
  }

  read() {
    let found;
    try {
      found = this.area.value.trim() ? JSON.parse(this.area.value) : null;
    } catch {
      found = false;
    }
    const tree = found === false ? null : readTree(found);
    this.raw = tree === null;
    if (tree) this.tree = tree;
    this.draw();
    this.say(this.raw ? "This filter has something that the builder does not know; it is edited as JSON." : "");
  }

  /** @param {string} text */
  say(text) {
    this.querySelector(".tg-filter-note")?.remove();
    if (text) this.box.before(h("p", { class: "tg-filter-note hint", role: "status" }, text));
  }

  turn() {
    if (this.raw) this.read();
    else {
      this.raw = true;
      this.draw();
      this.say("");
    }
  }

  /** @param {Part} [focus] */
  draw(focus) {
    this.area.hidden = !this.raw;
    this.toggle.textContent = this.raw ? "Edit in the builder" : "Edit as JSON";
    this.toggle.hidden = this.fixed;
    this.box.replaceChildren(...(this.raw ? [] : [this.group(this.tree, null)]));
    if (focus) find(this.box, `[data-part="${this.parts.indexOf(focus)}"] :is(input, select)`)?.focus();
  }

  get parts() {
    /** @type {Part[]} */
    const all = [];
    const walk = (/** @type {Part} */ part) => {
      all.push(part);
      part.parts?.forEach(walk);
    };
    walk(this.tree);
    return all;
  }

  write() {
    const tree = writeTree(this.tree);
    put(this.area, tree === undefined ? "" : JSON.stringify(tree));
  }

  /** @param {Part} focus */
  changed(focus) {
    this.write();
    this.draw(focus);
  }

  /**
   * A button.
   *
   * @param {string} type its class
   * @param {any} text
   * @param {() => void} action
   * @param {import("./dom.js").Props} [props]
   */
  get(type, text, action, props = {}) {
    return h("button", { type: "button", class: type, onclick: action, disabled: this.fixed, ...props }, text);
  }

  /**
   * Leave a part out of its group.
   *
   * @param {Group} parent
   * @param {Part} part
   */
  leave(parent, part) {
    const at = parent.parts.indexOf(part);
    parent.parts.splice(at, 1);
    this.changed(parent.parts[Math.min(at, parent.parts.length - 1)] ?? parent);
  }

  /**
   * @param {Group} group
   * @param {Group | null} parent
   * @returns {HTMLElement}
   */
  group(group, parent) {
    const add = (/** @type {Part} */ part) => {
      group.parts.push(part);
      this.changed(part);
    };
    const join = select([["all", "all"], ["any", "any"]], group.join, {
      "aria-label": "How conditions are joined",
      disabled: this.fixed,
      onchange: (event) => {
        group.join = event.target.value;
        this.changed(group);
      },
    });
    const empty = !group.parts.length && !parent;
    return h(
      "fieldset",
      { class: `tg-group ${group.join}`, "data-part": String(this.parts.indexOf(group)) },
      h("legend", { class: "visually-hidden" }, parent ? "Group of conditions" : "Filter"),
      empty
        ? h("p", { class: "tg-group-head faint" }, "No conditions: every row is meant.")
        : h("div", { class: "tg-group-head" }, join, h("span", {}, "of these hold"),
            parent && !this.fixed && h("button", { type: "button", class: "quiet square", "aria-label": "Remove the group", onclick: () => this.leave(parent, group) }, icon("close"))),
      h("ul", {}, group.parts.map((part) => h("li", {}, part.parts ? this.group(part, group) : this.condition(part, group)))),
      !this.fixed && h("div", { class: "tg-group-foot" },
        this.get("quiet", [icon("plus"), "Condition"], () => add({ field: "", op: "is", value: "", folded: false })),
        this.get("quiet", [icon("plus"), "Group"], () => add({ join: group.join === "all" ? "any" : "all", parts: [{ field: "", op: "is", value: "", folded: false }] }))),
    );
  }

  /** @param {Condition} part */
  type(part) {
    return this.types.get(part.field);
  }

  /**
   * @param {Condition} part
   * @param {Group} parent
   */
  condition(part, parent) {
    const box = h("div", { class: "tg-condition", role: "group", "aria-label": "Condition", "data-part": String(this.parts.indexOf(part)) });
    let of = kind(this.type(part));
    const field = h("input", {
      type: "text", value: part.field, list: this.list.id, required: true, disabled: this.fixed, placeholder: "Field", "aria-label": "Field", spellcheck: "false", autocomplete: "off",
      oninput: (event) => {
        part.field = event.target.value.trim();
        const now = kind(this.type(part));
        if (now !== of) {
          of = now;
          const fits = operators(this.type(part));
          if (!fits.includes(part.op) || (part.op === "is" && part.value === "")) this.operate(part, fits[0]);
          op.replaceChildren(...select(fits, part.op).children);
          this.fill(box, part);
        }
        this.write();
      },
    });
    const known = operators(this.type(part));
    const op = select(known.includes(part.op) ? known : [part.op, ...known], part.op, {
      "aria-label": "Operator",
      disabled: this.fixed,
      onchange: (event) => {
        this.operate(part, event.target.value);
        this.fill(box, part);
        this.write();
      },
    });
    box.append(field, op, h("span", { class: "tg-values" }));
    if (!this.fixed)
      box.append(h("button", { type: "button", class: "quiet square", "aria-label": "Remove the condition", onclick: () => this.leave(parent, part) }, icon("close")));
    this.fill(box, part);
    return box;
  }

  /**
   * Draw the inputs for the values of a condition, and nothing else of it, so that the focus stays where it is.
   *
   * @param {Element} box
   * @param {Condition} part
   */
  fill(box, part) {
    const folds = FOLDING.includes(part.op) && ["text", "any"].includes(kind(this.type(part)));
    const fold = folds && h("label", { class: "check", title: "Compare without regard to upper and lower case" },
      h("input", { type: "checkbox", checked: part.folded, disabled: this.fixed, onchange: (event) => { part.folded = event.target.checked; this.write(); } }), h("span", {}, "Ignore case"));
    box.querySelector(".tg-values")?.replaceChildren(...valuesOf(this, part), ...(fold ? [fold] : []));
  }

  /**
   * Have a condition ask something else, with as much of its value as fits.
   *
   * @param {Condition} part
   * @param {string} op
   */
  operate(part, op) {
    const first = Array.isArray(part.value) ? part.value[0] : part.value;
    part.op = op;
    if (UNARY.includes(op)) part.value = undefined;
    else if (LISTS.includes(op)) part.value = first === undefined || first === "" ? [] : [first];
    else if (RANGES.includes(op)) part.value = [first ?? "", ""];
    else part.value = first ?? "";
    if (DATES.includes(op) && typeof part.value === "string" && readTime(part.value).form === "other") part.value = "";
  }
}

customElements.define("tg-filter", Filter);
