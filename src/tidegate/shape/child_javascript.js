// What surrounds a function in JavaScript: reads records, calls it, writes results. Evaluated before the function, and
// with copies of what it uses, so that the function can do to its own globals what it likes.
(() => {
  "use strict";
  const { parse, stringify } = JSON;
  const { isArray } = Array;
  const { isFinite, isInteger, isSafeInteger } = Number;
  const { keys, defineProperty, getPrototypeOf, prototype: plain } = Object;
  const { floor } = Math;
  const { now } = Date;
  const NativeDate = Date;
  const NativePromise = Promise;
  const NativeError = Error;
  const text = String;
  const number = Number;
  const big = BigInt;
  const evaluate = eval;
  const getTime = Date.prototype.getTime;
  const { PlainDate, Instant } = Temporal;

  const LARGEST = 16 << 20;
  const DEEPEST = 100;
  const EVERY = 50;
  const ENOUGH = 1 << 20;
  const FIRST_MS = -62135596800000;
  const LAST_MS = 253402300799999;
  const MARKS = new Set(["~t", "~d", "~n", "~i", "~f", "~l"]);
  const micros = new WeakMap();

  // [0] the record that is at work, [1] characters printed, [2] lines left out, [3] whether a slice is under way
  const state = new Float64Array(4);
  const printed = new Uint16Array(1 << 16);
  let room = 0;

  class Decimal {
    #text;
    constructor(value) {
      const written = text(value).trim();
      if (!/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?$/.test(written)) {
        throw new SyntaxError(`Cannot convert ${written.slice(0, 40)} to a Decimal`);
      }
      this.#text = written;
      Object.freeze(this);
    }
    toString() { return this.#text; }
    toJSON() { return this.#text; }
    valueOf() { return number(this.#text); }
    static written(value) { return value.#text; }
    static is(value) { return #text in value; }
  }
  const { written, is: isDecimal } = Decimal;
  delete Decimal.written;
  delete Decimal.is;

  class Unfit extends Error {}

  function unmarked(value) {
    if (!isArray(value)) {
      const names = keys(value);
      for (let n = 0; n < names.length; n++) {
        const name = names[n];
        const each = value[name];
        if (typeof each === "object" && each !== null) set(value, name, unmarked(each));
      }
      return value;
    }
    if (typeof value[0] === "string" && MARKS.has(value[0])) {
      const held = value[1];
      switch (value[0]) {
        case "~t": {
          const date = new NativeDate(held);
          if (value[2]) micros.set(date, value[2]);
          return date;
        }
        case "~d": return PlainDate.from(held);
        case "~n": return new Decimal(held);
        case "~i": return big(held);
        case "~f": return number({ nan: NaN, inf: Infinity, "-inf": -Infinity }[held]);
        default: value = held;
      }
    }
    for (let n = 0; n < value.length; n++) {
      const each = value[n];
      if (typeof each === "object" && each !== null) value[n] = unmarked(each);
    }
    return value;
  }

  function set(object, name, value) {
    if (name !== "__proto__") object[name] = value;
    else defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  }

  // The value in JSON; `path` grows and shrinks with the depth and names the property in errors.
  function marked(value, path) {
    switch (typeof value) {
      case "string": return value.isWellFormed() ? value : value.toWellFormed();
      case "boolean": return value;
      case "number":
        if (isSafeInteger(value)) return value;
        if (!isFinite(value)) throw unfit(path, "is not a number (NaN) or infinite; return null");
        return isInteger(value) ? ["~f", value] : value;
      case "bigint": {
        const digits = text(value);
        if (digits.length > 4300) throw unfit(path, "is a whole number of more than 4,300 digits; return text");
        return ["~i", digits];
      }
      case "undefined": return null;
      case "object": return value === null ? null : inside(value, path);
      default: throw unfit(path, `is a ${typeof value}; return text, a number, a list or an object`);
    }
  }

  function inside(value, path) {
    if (path.length > DEEPEST) throw unfit(path.slice(0, 3), `is nested more than ${DEEPEST} levels deep, or contains itself`);
    const at = path.length;
    if (isArray(value)) {
      const made = [];
      for (let n = 0; n < value.length; n++) {
        path[at] = n;
        made[n] = marked(value[n], path);
      }
      path.length = at;
      return typeof made[0] === "string" && MARKS.has(made[0]) ? ["~l", made] : made;
    }
    const kind = getPrototypeOf(value);
    if (kind !== plain && kind !== null) {
      const special = other(value, path);
      if (special !== undefined) return special;
    }
    const made = {};
    const names = keys(value);
    for (let n = 0; n < names.length; n++) {
      const name = names[n];
      const each = value[name];
      path[at] = name;
      if (each !== undefined) set(made, name.isWellFormed() ? name : name.toWellFormed(), marked(each, path));
    }
    path.length = at;
    return made;
  }

  function other(value, path) {
    if (value instanceof NativeDate) return moment(getTime.call(value), micros.get(value) ?? 0, path);
    if (isDecimal(value)) return ["~n", written(value)];
    if (value instanceof PlainDate) {
      if (value.year < 1 || value.year > 9999) throw unfit(path, "is a date outside the years 1 to 9999");
      return ["~d", value.withCalendar("iso8601").toString()];
    }
    if (value instanceof Instant) {
      const rest = ((value.epochNanoseconds % 1000000n) + 1000000n) % 1000000n;
      return moment(floor(value.epochMilliseconds), number(rest / 1000n), path);
    }
    if (value instanceof String || value instanceof Number || value instanceof Boolean) return marked(value.valueOf(), path);
    const name = text(value.constructor?.name ?? "object").slice(0, 60);
    if (value instanceof NativePromise || typeof value.then === "function") {
      throw unfit(path, "is a promise; a function must return its result at once, so write it without `async`");
    }
    const hint = { Set: "an array", Map: "an object", RegExp: "text", Symbol: "text" }[name];
    if (hint) throw unfit(path, `is a ${name}; return ${hint}`);
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) throw unfit(path, `is a ${name}; return an array`);
    return undefined;
  }

  function moment(ms, rest, path) {
    if (ms !== ms) throw unfit(path, "is an invalid Date; return null");
    if (ms < FIRST_MS || ms > LAST_MS) throw unfit(path, "is a time outside the years 1 to 9999");
    return ["~t", ms, rest];
  }

  function unfit(path, what) {
    let place = "";
    for (let n = 0; n < path.length; n++) place += (n ? "." : "") + text(path[n]).slice(0, 80);
    return new Unfit(`${place ? `the property ${place.slice(0, 400).toWellFormed()}` : "the result"} ${what}`);
  }

  function result(value) {
    if (value === null || value === undefined) return "null";
    const path = [];
    if (typeof value !== "object" || isArray(value)) {
      throw unfit(path, `is ${isArray(value) ? "an array" : `a ${typeof value}`}; return an object of properties, or null to leave the record out`);
    }
    const made = marked(value, path);
    if (isArray(made)) throw unfit(path, "is a single value; return an object of properties");
    const encoded = stringify(made);
    if (encoded?.[0] !== "{") throw unfit(path, "cannot be written as JSON; do not change the prototypes of objects");
    if (encoded.length > LARGEST) throw unfit(path, `is larger than ${LARGEST >> 20} MB`);
    return encoded;
  }

  // The innermost line of the function in a stack.
  function line(stack) {
    const found = /function\.js:(\d+):\d+/.exec(text(stack));
    return found ? number(found[1]) : null;
  }

  function failed(error) {
    try {
      const told = stringify(fault(error));
      if (told?.[0] === "[") return told;
    } catch {
      // It can do what it likes when it is looked at.
    }
    return '["an error that cannot be read","an error that cannot be read",null,"error"]';
  }

  function fault(error) {
    if (error instanceof Unfit) return [error.message, error.message, null, "result"];
    if (!(error instanceof NativeError)) {
      const safe = `threw ${typeof error}`;
      return [`${safe}: ${text(error).slice(0, 1000).toWellFormed()}`, safe, null, "error"];
    }
    const at = line(error.stack);
    const name = text(error.name);
    const safe = `${at === null ? "" : `line ${at}: `}${/^\w{1,60}$/.test(name) ? name : "an error"}`;
    const message = text(error.message).slice(0, 1000).toWellFormed();
    return [message ? `${safe}: ${message}` : safe, safe, at, "error"];
  }

  function shown(value) {
    if (typeof value === "string") return value;
    if (typeof value === "function") return `[function ${value.name}]`;
    if (typeof value !== "object" || value === null || value instanceof NativeError) return text(value);
    try {
      const found = stringify(value, (_, each) => (typeof each === "bigint" ? `${each}n` : each));
      return found === undefined ? text(value) : found;
    } catch {
      return "[object]";
    }
  }

  function print(...values) {
    let said = "";
    for (let n = 0; n < values.length; n++) said += (n ? " " : "") + shown(values[n]);
    said += "\n";
    const free = room - state[1];
    const kept = said.length < free ? said.length : free;
    for (let n = 0; n < kept; n++) printed[state[1] + n] = said.charCodeAt(n);
    state[1] += kept;
    for (let n = said.indexOf("\n", kept); n >= 0; n = said.indexOf("\n", n + 1)) state[2]++;
  }

  const console = {};
  for (const name of ["log", "info", "warn", "error", "debug"]) console[name] = print;
  Object.assign(globalThis, { console, Decimal });
  for (const name of ["setTimeout", "clearTimeout", "__timer_manager", "WebAssembly"]) globalThis[name] = undefined;

  let transform = null;
  let batch = [];
  let at = 0;
  let begun = 0;

  return {
    state,
    printed,
    room(most) {
      room = most;
    },
    // Whether there is a function, once its text was evaluated.
    find() {
      transform = evaluate("typeof transform === 'undefined' ? undefined : transform");
      return typeof transform === "function";
    },
    // Results for a new batch of records, or for more of the last one, until some time has passed: their number, a
    // space, and a list of them.
    answer(records) {
      if (records !== undefined) {
        batch = parse(records);
        at = 0;
      }
      const due = now() + EVERY;
      const made = [];
      let size = 0;
      while (at < batch.length && size < ENOUGH) {
        const record = batch[at];
        batch[at++] = null;
        state[0] = ++begun;
        let each;
        try {
          each = result(transform(unmarked(record)));
        } catch (error) {
          each = failed(error);
        }
        made[made.length] = each;
        size += each.length;
        if (now() > due) break;
      }
      state[0] = 0;
      let body = "";
      for (let n = 0; n < made.length; n++) body += (n ? "," : "") + made[n];
      return `${made.length} [${body}]`;
    },
  };
})()
//# sourceURL=tidegate
