// Inputs for the values of a condition: text, numbers, true and false, times, lists.
import { h, icon, id, select } from "./dom.js";
import { DATES, LISTS, RANGES, UNARY, kind, readTime, typed, writeTime } from "./operators.js";

const FORMS = [
  ["date", "on the date"], ["time", "at the time (UTC)"], ["ago", "some time ago"], ["in", "some time ahead"],
  ["today", "today"], ["yesterday", "yesterday"], ["tomorrow", "tomorrow"], ["now", "now"], ["other", "as written"],
];
const UNITS = ["minute", "hour", "day", "week", "month", "year"];
const ORDER = ["<", "<=", ">", ">="];

/**
 * What the inputs need of the builder that they stand in.
 *
 * @typedef {import("./operators.js").Condition} Condition
 * @typedef {import("./operators.js").Time} Time
 * @typedef {{name: string, type?: string, label?: string, values?: any[]}} Field
 * @typedef {{fixed: boolean, fields: Field[], type: (part: Condition) => string | undefined, write: () => void}} Builder
 */

/**
 * The inputs for the values of a condition.
 *
 * @param {Builder} builder
 * @param {Condition} part
 */
export function valuesOf(builder, part) {
  if (UNARY.includes(part.op)) return [];
  if (LISTS.includes(part.op)) return [chips(builder, part)];
  if (RANGES.includes(part.op))
    return [one(builder, part, () => part.value[0], (value) => (part.value[0] = value), "Lowest"), h("span", { class: "faint" }, "and"),
      one(builder, part, () => part.value[1], (value) => (part.value[1] = value), "Highest")];
  return [one(builder, part, () => part.value, (value) => (part.value = value), "Value")];
}

/**
 * An input for one value.
 *
 * @param {Builder} builder
 * @param {Condition} part
 * @param {() => any} get
 * @param {(value: any) => void} set
 * @param {string} label
 */
function one(builder, part, get, set, label) {
  const of = kind(builder.type(part));
  if (of === "time" || DATES.includes(part.op)) return moment(builder, get, set, label);
  if (of === "boolean")
    return select([["", "Choose"], ["true", "true"], ["false", "false"]], String(get()), {
      "aria-label": label, required: true, disabled: builder.fixed,
      onchange: (event) => { set(event.target.value === "" ? "" : event.target.value === "true"); builder.write(); },
    });
  const as = of === "any" && (ORDER.includes(part.op) || RANGES.includes(part.op)) ? "number" : of;
  const before = get();
  const allowed = builder.fields.find((each) => each.name === part.field)?.values;
  const list = allowed && h("datalist", { id: id("values") }, allowed.map((each) => h("option", { value: String(each) })));
  const input = h("input", {
    type: "text", value: String(before ?? ""), list: list?.id, inputmode: as === "number" ? "decimal" : undefined, required: true, disabled: builder.fixed, placeholder: label, "aria-label": label, autocomplete: "off",
    pattern: of === "number" ? String.raw`\s*[+\-]?(\d+\.?\d*|\.\d+)([eE][+\-]?\d+)?\s*` : undefined, title: of === "number" ? "A number" : undefined,
    oninput: (event) => { set(typed(event.target.value, as, before)); builder.write(); },
  });
  return h("span", { class: "tg-value" }, input, list);
}

/**
 * Inputs for a time: of which kind it is, and its parts.
 *
 * @param {Builder} builder
 * @param {() => any} get
 * @param {(value: any) => void} set
 * @param {string} label
 */
function moment(builder, get, set, label) {
  const place = h("span", { class: "tg-value tg-moment" });
  const draw = (/** @type {Time} */ time, focus = false) => {
    const keep = () => { set(writeTime(time)); builder.write(); };
    /** @type {(name: "count" | "unit" | "text", read?: (input: HTMLInputElement) => any) => (event: any) => void} */
    const change = (name, read = (input) => input.value) => (event) => { time[name] = read(event.target); keep(); };
    const props = { required: true, disabled: builder.fixed, "aria-label": label };
    const form = select(FORMS, time.form, {
      "aria-label": `${label}: kind of time`, disabled: builder.fixed,
      onchange: (event) => {
        /** @type {Time} */
        const next = { form: event.target.value, count: time.count ?? 30, unit: time.unit ?? "day", text: "" };
        if (next.form === "date" && time.text) next.text = time.text.slice(0, 10);
        if (next.form === "time" && /^\d{4}-\d\d-\d\d$/.test(time.text ?? "")) next.text = `${time.text}T00:00`;
        if (next.form === "other") next.text = String(writeTime(time) ?? "");
        draw(next, true);
        set(writeTime(next));
        builder.write();
      },
    });
    const inputs = [];
    if (time.form === "ago" || time.form === "in")
      inputs.push(h("input", { ...props, type: "number", min: "0", max: "999999", step: "1", value: String(time.count), oninput: change("count", (input) => Math.max(0, Math.trunc(Number(input.value) || 0))) }),
        select(UNITS.map((unit) => [unit, `${unit}s`]), time.unit ?? "day", { "aria-label": `${label}: unit`, disabled: builder.fixed, onchange: change("unit") }));
    else if (time.form === "date") inputs.push(h("input", { ...props, type: "date", value: time.text, oninput: change("text") }));
    else if (time.form === "time") inputs.push(h("input", { ...props, type: "datetime-local", step: "1", value: time.text, oninput: change("text") }));
    else if (time.form === "other") inputs.push(h("input", { ...props, type: "text", value: time.text, placeholder: "2024-01-31T12:00:00+02:00, or unix seconds", oninput: change("text") }));
    place.replaceChildren(form, ...inputs);
    if (focus) form.focus();
  };
  draw(readTime(get()));
  return place;
}

/**
 * Inputs for a list of values.
 *
 * @param {Builder} builder
 * @param {Condition} part
 */
function chips(builder, part) {
  const of = kind(builder.type(part));
  const place = h("span", { class: "tg-value tg-chips" });
  const draw = () => {
    const input = h("input", {
      type: "text", placeholder: part.value.length ? "" : "Values, with Enter after each", "aria-label": "Another value", required: !part.value.length, disabled: builder.fixed, autocomplete: "off",
      onkeydown: (event) => {
        if ((event.key === "Enter" || event.key === ",") && event.target.value.trim()) {
          event.preventDefault();
          take([event.target.value]);
        } else if (event.key === "Enter") event.preventDefault();
        else if (event.key === "Backspace" && !event.target.value && part.value.length) drop(part.value.length - 1);
      },
      onchange: (event) => event.target.value.trim() && take([event.target.value], false),
      onpaste: (event) => {
        const many = event.clipboardData.getData("text").split(/[\n,;\t]+/).filter((/** @type {string} */ each) => each.trim());
        if (many.length > 1) { event.preventDefault(); take(many); }
      },
    });
    place.replaceChildren(
      ...part.value.map((/** @type {any} */ value, /** @type {number} */ at) => h("span", { class: "tg-chip" }, String(value),
        !builder.fixed && h("button", { type: "button", class: "quiet", "aria-label": `Remove ${value}`, onclick: () => drop(at) }, icon("close")))),
      input,
    );
    return input;
  };
  const boolean = (/** @type {any} */ text) => (of === "boolean" && /^(true|false)$/i.test(text) ? text.toLowerCase() === "true" : text);
  const take = (/** @type {string[]} */ texts, stay = true) => {
    for (const text of texts.map((each) => each.trim())) {
      const value = boolean(typed(text, of));
      if (!part.value.includes(value)) part.value.push(value);
    }
    builder.write();
    const input = draw();
    if (stay) input.focus();
  };
  const drop = (/** @type {number} */ at) => {
    part.value.splice(at, 1);
    builder.write();
    draw().focus();
  };
  draw();
  return place;
}
