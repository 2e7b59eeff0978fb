/**
 * Fields made from JSON Schemas: an input for simple types, JSON for all others.
 *
 * @module fields
 */

import { readJSON, writeJSON } from "./exact.js";
import { make, sayOrHide } from "./text.js";

/** The text in a field is no value of its type. */
export class Unfit extends Error {}

/** In place of an argument that is left out: the handler's default holds. */
export const LEFT_OUT = Symbol("left out");

let made = 0;

/** One field: a label, an input, and an error message. */
export class Field {
  #kind;
  #input;
  #problem = make("p", "error");
  #required;
  #default;

  /**
   * @param {string} name
   * @param {any} schema
   * @param {{required: boolean, default?: any, hint?: string, choose?: boolean}} how With `choose`, a yes or no is
   *   chosen, as nobody is to send a no by sending nothing.
   */
  constructor(name, schema, { required, default: given, hint, choose = false }) {
    this.name = name;
    this.#kind = kindOf(schema);
    if (this.#kind.name === "boolean" && (choose || !required)) this.#kind = { ...this.#kind, name: "choice", values: [true, false] };
    this.#required = required;
    this.#default = given;
    this.#input = KINDS[this.#kind.name].make(this.#kind, given, required);
    this.#input.id = `field-${++made}`;
    this.#problem.id = `${this.#input.id}-problem`;
    this.#problem.hidden = true;
    this.#input.setAttribute("aria-describedby", this.#problem.id);
    if (required) this.#input.setAttribute("aria-required", "true");
    const label = make("label", "", name);
    label.htmlFor = this.#input.id;
    const about = hint ?? [KINDS[this.#kind.name].hint, required ? "" : "optional"].filter(Boolean).join(", ");
    if (about) label.append(make("span", "hint", about));
    this.node = make("div", this.#kind.name === "boolean" ? "field check" : "field", label, this.#input, this.#problem);
  }

  /** The handler's default, if it is known. */
  get default() {
    return this.#default;
  }

  /** Return the value; `LEFT_OUT` if the field is empty and optional. Shows an error, and raises `Unfit`. */
  read() {
    try {
      const value = this.#value();
      this.complain("");
      return value;
    } catch (error) {
      this.complain(error.message);
      throw error;
    }
  }

  /** Show a value. */
  write(value) {
    const { name } = this.#kind;
    if (name === "boolean") this.#input.checked = value === true;
    else this.#input.value = name === "choice" || name === "json" ? writeJSON(value) : String(value ?? "");
  }

  /** Show an error message. @param {string} problem */
  complain(problem) {
    sayOrHide(this.#problem, problem);
    this.#input.setAttribute("aria-invalid", String(Boolean(problem)));
  }

  focus() {
    this.#input.focus();
  }

  /** Make it empty, for the next value. */
  clear() {
    this.#input.value = "";
  }

  #value() {
    const { name, nullable } = this.#kind;
    const text = this.#input.value;
    if (name === "boolean") return this.#input.checked;
    if (text !== "" || this.#input.validity.badInput) return KINDS[name].read(text, this.#kind);
    if (!this.#required) return LEFT_OUT;
    if (nullable) return null;
    if (name === "string" && !this.#kind.minLength) return "";
    throw new Unfit("This is needed.");
  }
}

function kindOf(schema) {
  const { anyOf = [], type, enum: values } = schema;
  const others = anyOf.filter((one) => one.type !== "null");
  if (others.length === 1 && anyOf.length === 2) return { ...kindOf(others[0]), nullable: true };
  if (values?.every((value) => ["string", "number", "bigint"].includes(typeof value))) return { name: "choice", values };
  return { name: type in KINDS ? type : "json", minimum: schema.minimum, maximum: schema.maximum, minLength: schema.minLength };
}

const word = (value) => (typeof value === "boolean" ? (value ? "Yes" : "No") : String(value ?? "none"));

const numeric = (step) => ({ minimum, maximum }, given) => {
  const input = make("input");
  Object.assign(input, { type: "number", step, min: minimum ?? "", max: maximum ?? "" });
  input.inputMode = step === "1" ? "numeric" : "decimal";
  if (given !== undefined) input.placeholder = String(given ?? "none");
  return input;
};

function readNumber(text, { minimum, maximum }) {
  const number = Number(text);
  if (text === "" || !Number.isFinite(number)) throw new Unfit("This is no number.");
  if (minimum !== undefined && number < minimum) throw new Unfit(`At least ${minimum}.`);
  if (maximum !== undefined && number > maximum) throw new Unfit(`At most ${maximum}.`);
  return number;
}

function area(rows, given) {
  const input = make("textarea");
  Object.assign(input, { rows, spellcheck: false, placeholder: given ?? "" });
  return input;
}

function choice(options) {
  const input = make("select");
  input.append(...options.map(([text, value]) => new Option(text, value)));
  return input;
}

/** The functions that make and read each kind of field. */
const KINDS = {
  string: {
    make: (_, given) => area(1, given),
    read: (text) => text,
  },
  integer: {
    make: numeric("1"),
    read(text, kind) {
      const number = readNumber(text, kind);
      if (Number.isSafeInteger(number)) return number;
      if (!/^[+-]?\d+$/.test(text)) throw new Unfit("This is no whole number.");
      return BigInt(text.replace("+", ""));
    },
  },
  number: { make: numeric("any"), read: readNumber },
  boolean: {
    make: () => Object.assign(make("input"), { type: "checkbox" }),
  },
  choice: {
    make: ({ values, nullable }, given, required) =>
      choice([
        [required ? (nullable ? "none" : "Choose…") : `Default${given === undefined ? "" : ` (${word(given)})`}`, ""],
        ...values.map((value) => [word(value), writeJSON(value)]),
      ]),
    read: (text) => readJSON(text),
  },
  json: {
    hint: "JSON",
    make: (_, given) => area(2, given === undefined ? "" : writeJSON(given)),
    read(text) {
      try {
        return readJSON(text);
      } catch {
        throw new Unfit('This is no JSON. Text needs quotes: "like this".');
      }
    },
  },
};
