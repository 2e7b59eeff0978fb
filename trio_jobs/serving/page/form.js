/**
 * Submitting a job: a form made from the parameters of the handlers.
 *
 * @module form
 */

import { writeJSON } from "./exact.js";
import { Field, LEFT_OUT, Unfit } from "./fields.js";
import { element, onSubmit, readTags, say, sayOrHide, writeTag } from "./text.js";

/** The dialog with the form. */
export class SubmitDialog {
  #dialog = element("submit-dialog");
  #handler = element("submit-handler");
  #jobs = null;
  /** @type {import("./trio_jobs.js").Handler[]} */
  #handlers = [];
  /** @type {Field[]} */
  #fields = [];
  /** @type {?Field} */
  #rest = null;
  /** @type {Field[]} */
  #keywordOnly = [];
  /** @type {Object<string, any>} The keyword arguments of the job that is to be submitted again that have no field. */
  #others = {};
  /** @type {?Field} */
  #key = null;
  #submitted;
  /** @type {?{id: string, handler: string, shown: string}} The job that is to be submitted again, and what the form showed of it. */
  #again = null;

  /** @param {(job: import("./trio_jobs.js").Job) => void} submitted Called with a new job. */
  constructor(submitted) {
    this.#submitted = submitted;
    this.#handler.addEventListener("change", () => this.#choose());
    onSubmit(element("submit-form"), element("submit-button"), () => this.#submit());
    this.#dialog.querySelector(".close").addEventListener("click", () => this.#dialog.close());
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs */
  use(jobs) {
    this.#jobs = jobs;
  }

  /**
   * Request the handlers, and show the form with its previous contents; or with those of a job that has ended.
   *
   * @param {?import("./trio_jobs.js").Job} [job]
   */
  async open(job = null) {
    say(element("submit-title"), job ? "Submit again" : "New job");
    this.#dialog.showModal();
    this.#complain("");
    const before = this.#again;
    this.#again = null;
    try {
      const handlers = await this.#jobs.handlers();
      const known = writeJSON(handlers) === writeJSON(this.#handlers);
      if (!known) {
        this.#handlers = handlers;
        this.#handler.replaceChildren(...handlers.map(({ name }) => new Option(name, name)));
      }
      if (before) element("submit-tags").value = element("submit-timeout").value = "";
      if (!known || before) this.#choose();
      if (job) await this.#prefill(job);
    } catch (error) {
      this.#complain(error.message);
    }
    if (this.#handlers.length === 0) this.#complain("This server has no handlers; give some to its registry.");
  }

  /** Show what a job was submitted with. */
  async #prefill(job) {
    const args = (await this.#jobs.value(job, "args")) ?? [];
    const kwargs = (await this.#jobs.value(job, "kwargs")) ?? {};
    this.#handler.value = job.handler;
    this.#choose();
    const fields = [...this.#fields, ...this.#keywordOnly].filter(({ name }) => Object.hasOwn(kwargs, name));
    for (const field of fields) field.write(kwargs[field.name]);
    this.#others = Object.fromEntries(Object.entries(kwargs).filter(([name]) => !fields.some((field) => field.name === name)));
    this.#fields.slice(0, args.length).forEach((field, index) => field.write(args[index]));
    if (args.length > this.#fields.length) this.#rest?.write(args.slice(this.#fields.length));
    element("submit-tags").value = Object.entries(job.tags).map(([name, value]) => writeTag(name, value)).join(" ");
    element("submit-timeout").value = String(job.timeouts.run ?? "");
    this.#key?.write(job.limit_key);
    this.#again = { id: job.id, handler: job.handler, shown: this.#shown() };
  }

  /** Return the handler and the arguments as text. */
  #shown() {
    try {
      return writeJSON([this.#handler.value, this.#args(), this.#kwargs()]);
    } catch {
      return "";
    }
  }

  #choose() {
    const chosen = this.#handlers.find(({ name }) => name === this.#handler.value);
    const { description, parameters, rest, keyword_only = [], limit_key } = chosen ?? { description: "", parameters: [], rest: null };
    sayOrHide(element("submit-description"), description);
    this.#fields = parameters.map(fieldOf);
    this.#keywordOnly = keyword_only.map(fieldOf);
    this.#others = {};
    const list = { type: "array" };
    this.#rest = rest && new Field("More arguments", list, { required: false, hint: "a JSON list, optional" });
    const named = { required: true, hint: "whose place it takes" };
    this.#key = limit_key ? new Field("Limit key", { type: "string", minLength: 1 }, named) : null;
    const nodes = [...this.#fields, this.#rest, ...this.#keywordOnly, this.#key].flatMap((field) => field?.node ?? []);
    element("submit-parameters").replaceChildren(...nodes);
    this.#complain("");
  }

  /** Return the arguments, by position: only the last ones may be left out. */
  #args() {
    const values = collect([...this.#fields, ...this.#keywordOnly]).slice(0, this.#fields.length);
    const more = this.#rest?.read() ?? LEFT_OUT;
    if (more !== LEFT_OUT && !Array.isArray(more)) throw new Unfit("More arguments are a JSON list.");
    const given = more !== LEFT_OUT && more.length > 0 ? values.length : values.findLastIndex((value) => value !== LEFT_OUT) + 1;
    const args = values.slice(0, given).map((value, index) => (value === LEFT_OUT ? this.#fields[index].default : value));
    const missing = args.findIndex((value) => value === undefined);
    if (missing >= 0) {
      this.#fields[missing].focus();
      throw new Unfit("An argument is empty, and one behind it is not: give both.");
    }
    return more === LEFT_OUT ? args : [...args, ...more];
  }

  /** Return the keyword arguments. */
  #kwargs() {
    const given = this.#keywordOnly.map((field) => [field.name, field.read()]).filter(([, value]) => value !== LEFT_OUT);
    return { ...this.#others, ...Object.fromEntries(given) };
  }

  #options() {
    const tags = readTags(element("submit-tags").value);
    const timeout = element("submit-timeout");
    const seconds = Number(timeout.value);
    const fits = !timeout.validity.badInput && (timeout.value === "" || seconds > 0);
    point("submit-tags", tags === null ? "Tags are written name=value, with spaces between them." : "");
    point("submit-timeout", fits ? "" : "A timeout is a number above zero.");
    if (tags === null || !fits) throw new Unfit("");
    return {
      tags,
      ...(timeout.value === "" ? {} : { timeout: seconds }),
      ...(this.#key ? { limit_key: collect([this.#key])[0] } : {}),
    };
  }

  async #submit() {
    this.#complain("");
    element("submit-button").disabled = true; // a second click submits no second job
    try {
      const job = await this.#send(this.#args(), this.#kwargs(), this.#options());
      this.#dialog.close();
      this.#submitted(job);
    } catch (error) {
      this.#refused(error);
    } finally {
      element("submit-button").disabled = false;
    }
  }

  /** Submit the job again if its arguments are still the same, else one in its place, or of another handler. */
  #send(args, kwargs, options) {
    const { id, handler, shown } = this.#again ?? {};
    if (shown === this.#shown()) return this.#jobs.resubmit(id, { timeout: null, ...options });
    const again = handler === this.#handler.value ? id : undefined;
    return this.#jobs.submit(this.#handler.value, args, { again, kwargs, ...options });
  }

  /** Show an error, at the field that it names if it names one. */
  #refused(error) {
    const named = /^the (?:arguments of .*\$\[(\d+)\]|keyword argument '(.*?)' of )/.exec(error.code === "invalid_payload" ? error.message : "");
    const [, place, name] = named ?? [];
    const field = name === undefined ? this.#fields[Number(place)] : this.#keywordOnly.find((one) => one.name === name);
    if (!field) return this.#complain(error.message);
    field.complain(error.message);
    field.focus();
  }

  #complain(problem) {
    sayOrHide(element("submit-error"), problem);
  }
}

/** @param {{name: string, schema: object, required: boolean, default?: any}} parameter */
const fieldOf = ({ name, schema, required, default: given }) => new Field(name, schema, { required, default: given });

/** Read every field, so that all errors are shown at once; the first field with one gets the focus. */
function collect(fields) {
  /** @type {any} */
  let wrong = null;
  const values = fields.map((field) => {
    try {
      return field.read();
    } catch {
      wrong ??= field;
      return LEFT_OUT;
    }
  });
  wrong?.focus();
  if (wrong !== null) throw new Unfit("");
  return values;
}

/** Show an error at an input. */
function point(id, problem) {
  sayOrHide(element(`${id}-problem`), problem);
  element(id).setAttribute("aria-invalid", String(Boolean(problem)));
  if (problem) element(id).focus();
}
