// What can be asked about a field, by its type; the same operators as in the configuration, word for word.

export const UNARY = ["is true", "is false", "is empty", "is not empty", "is null", "is not null", "exists", "does not exist"];
export const LISTS = ["is one of", "is not one of"];
export const RANGES = ["is between", "is not between"];
export const DATES = ["is before", "is on or before", "is after", "is on or after"];
const EQUAL = ["is", "is not", ...LISTS];
const ORDER = ["<", "<=", ">", ">=", ...RANGES];
const TEXT = ["contains", "does not contain", "starts with", "ends with"];
const PRESENT = ["is empty", "is not empty", "is null", "is not null", "exists", "does not exist"];
const TRUTH = ["is true", "is false"];

/** @type {Record<"text" | "number" | "boolean" | "time" | "object" | "any", string[]>} */
const BY_TYPE = {
  text: [...EQUAL, ...TEXT, ...ORDER, ...DATES, ...PRESENT],
  number: [...EQUAL, ...ORDER, ...DATES, ...PRESENT],
  boolean: [...TRUTH, ...EQUAL, ...PRESENT],
  time: [...DATES, "is", "is not", ...LISTS, ...ORDER, ...PRESENT],
  object: ["contains", "does not contain", ...PRESENT],
  any: [...EQUAL, ...TEXT, ...ORDER, ...DATES, ...TRUTH, ...PRESENT],
};
export const ALL = BY_TYPE.any;
/** Operators that may ignore upper and lower case. */
export const FOLDING = [...EQUAL, ...TEXT];

/** @type {Record<string, keyof typeof BY_TYPE>} */
const KINDS = {
  string: "text", text: "text", varchar: "text", enum: "text", id: "text",
  integer: "number", int: "number", bigint: "number", number: "number", decimal: "number", double: "number", float: "number", amount: "number",
  boolean: "boolean", bool: "boolean",
  timestamp: "time", time: "time", datetime: "time", date: "time",
  object: "object", array: "object", list: "object",
};

/**
 * One of text, number, boolean, time, object, any.
 *
 * @param {string | undefined} type
 * @returns {keyof typeof BY_TYPE}
 */
export function kind(type) {
  return KINDS[String(type ?? "").toLowerCase()] ?? "any";
}

/** @param {string | undefined} type */
export function operators(type) {
  return BY_TYPE[kind(type)];
}

/**
 * A time as its inputs have it: of which kind, and its parts.
 *
 * @typedef {{form: string, count?: number, unit?: string, text?: string, value?: any}} Time
 */

/**
 * Is the value a time, of which kind, and with which parts?
 *
 * @param {any} value
 * @returns {Time}
 */
export function readTime(value) {
  if (typeof value === "string") {
    const text = value.trim().toLowerCase();
    if (["now", "today", "yesterday", "tomorrow"].includes(text)) return { form: text };
    const ago = text.match(/^(\d{1,6})\s+(minute|hour|day|week|month|year)s?\s+ago$/);
    if (ago) return { form: "ago", count: Number(ago[1]), unit: ago[2] };
    const ahead = text.match(/^in\s+(\d{1,6})\s+(minute|hour|day|week|month|year)s?$/);
    if (ahead) return { form: "in", count: Number(ahead[1]), unit: ahead[2] };
    if (/^\d{4}-\d\d-\d\d$/.test(value)) return { form: "date", text: value };
    if (/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z$/.test(value)) return { form: "time", text: value.slice(0, -1) };
  }
  return value === undefined || value === null || value === "" ? { form: "date", text: "" } : { form: "other", text: String(value), value };
}

/** @param {Time} time */
export function writeTime({ form, count, unit, text, value }) {
  if (form === "ago") return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
  if (form === "in") return `in ${count} ${unit}${count === 1 ? "" : "s"}`;
  if (form === "date") return text;
  if (form === "time") return text ? `${text}Z` : "";
  if (form === "other") return value !== undefined && String(value) === text ? value : text;
  return form;
}

/**
 * What was typed, as a value of the field; what a number of this language would change stays text.
 *
 * @param {string} text
 * @param {string} of its kind
 * @param {any} [before]
 */
export function typed(text, of, before) {
  if (before !== undefined && !Array.isArray(before) && String(before) === text) return before;
  const plain = text.trim();
  const exact = /^-?(0|[1-9]\d*)(\.\d*[1-9])?$/.test(plain) && plain !== "-0" && String(Number(plain)) === plain;
  return of === "number" && exact && Number.isSafeInteger(Math.trunc(Number(plain))) ? Number(plain) : text;
}

/**
 * Conditions as the builder holds them, in groups; a bare group is not in the configuration.
 *
 * @typedef {{field: string, op: string, value?: any, folded: boolean, parts?: undefined}} Condition
 * @typedef {{join: string, parts: Part[], bare?: boolean}} Group
 * @typedef {Condition | Group} Part
 */

/**
 * A tree as the builder holds it, or null where it has something that the builder does not know.
 *
 * @param {any} found
 * @returns {Group | null}
 */
export function readTree(found) {
  if (found === null || found === undefined) return { join: "all", parts: [], bare: true };
  const part = readPart(found, 0);
  if (!part) return null;
  return part.parts ? part : { join: "all", parts: [part], bare: true };
}

/**
 * @param {any} found
 * @param {number} depth
 * @returns {Part | null}
 */
function readPart(found, depth) {
  if (typeof found !== "object" || Array.isArray(found) || depth > 20) return null;
  for (const join of ["all", "any"]) {
    if (!(join in found)) continue;
    if (Object.keys(found).length !== 1 || !Array.isArray(found[join])) return null;
    /** @type {Part[]} */
    const parts = [];
    for (const each of found[join]) {
      const part = readPart(each ?? false, depth + 1);
      if (!part) return null;
      parts.push(part);
    }
    return { join, parts };
  }
  const { field, op, value, ignore_case: folded = false, ...more } = found;
  const scalar = (/** @type {any} */ each) => ["string", "number", "boolean"].includes(typeof each);
  if (Object.keys(more).length || typeof field !== "string" || !ALL.includes(op) || typeof folded !== "boolean") return null;
  if (UNARY.includes(op) ? value !== undefined && value !== null : LISTS.includes(op) || RANGES.includes(op) ? !Array.isArray(value) || !value.every(scalar) : !scalar(value)) return null;
  if (RANGES.includes(op) && value.length !== 2) return null;
  return { field, op, value: UNARY.includes(op) ? undefined : value, folded };
}

/**
 * The tree as the configuration has it; undefined where nothing is asked.
 *
 * @param {Part} part
 * @returns {object | undefined}
 */
export function writeTree(part) {
  if (!part.parts) {
    /** @type {{field: string, op: string, value?: any, ignore_case?: boolean}} */
    const made = { field: part.field, op: part.op };
    if (!UNARY.includes(part.op)) made.value = part.value;
    if (part.folded && FOLDING.includes(part.op)) made.ignore_case = true;
    return made;
  }
  const parts = part.parts.map(writeTree).filter((each) => each !== undefined);
  if (!parts.length) return undefined;
  if (part.bare && part.join === "all" && parts.length === 1) return parts[0];
  return { [part.join]: parts };
}
