/**
 * What the selected job may be sent: a field made from what its handler takes.
 *
 * @module inputs
 */

import { Field } from "./fields.js";
import { element, sayOrHide } from "./text.js";

const OVER = new Set(["completed", "failed", "cancelled"]);

/** The form below a job's output. */
export class InputBox {
  #jobs = null;
  #job = null;
  #ended = false;
  /** @type {?Field} */
  #field = null;
  /** @type {?Promise<import("./trio_jobs.js").Handler[]>} Asked once, as it does not change while a server runs. */
  #handlers = null;

  constructor() {
    element("input-form").addEventListener("submit", (event) => this.#send(event));
    element("input-form").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element("input-form").requestSubmit();
    });
    element("input-end").addEventListener("click", () => this.#try(() => this.#jobs.endInputs(this.#job.id)));
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs Whom to ask from now on. */
  use(jobs) {
    this.#jobs = jobs;
    this.#handlers = null;
  }

  /** Show the form, if this job takes inputs. @param {import("./trio_jobs.js").Job} job */
  async show(job) {
    if (job.id !== this.#job?.id) {
      this.#ended = false;
      this.#field = null;
    }
    this.#job = job;
    this.#show();
    if (this.#field !== null || OVER.has(job.state)) return;
    try {
      this.#handlers ??= this.#jobs.handlers();
      const schema = (await this.#handlers).find(({ name }) => name === job.handler)?.inputs ?? null;
      if (schema === null || this.#job.id !== job.id || this.#field !== null) return;
      this.#field = new Field("Input", schema, { required: true });
      element("input-field").replaceChildren(this.#field.node);
      sayOrHide(element("input-error"), "");
      this.#show();
    } catch {
      this.#handlers = null; // the header says what has become of the connection
    }
  }

  /** Note that the job's inputs have ended. */
  end() {
    this.#ended = true;
    this.#show();
  }

  #show() {
    element("job-input").hidden = this.#field === null || this.#ended || OVER.has(this.#job.state);
  }

  async #send(event) {
    event.preventDefault();
    if (element("input-send").disabled || this.#field === null) return;
    const field = this.#field;
    let value;
    try {
      value = field.read();
    } catch {
      return field.focus();
    }
    await this.#try(async () => {
      await this.#jobs.send(this.#job.id, value);
      field.clear();
    });
    field.focus();
  }

  async #try(call) {
    sayOrHide(element("input-error"), "");
    element("input-send").disabled = element("input-end").disabled = true;
    try {
      await call();
    } catch (error) {
      sayOrHide(element("input-error"), error.message);
    } finally {
      element("input-send").disabled = element("input-end").disabled = false;
    }
  }
}
