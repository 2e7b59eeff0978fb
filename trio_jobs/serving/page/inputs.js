/**
 * What the selected job may be sent: a field made from what its handler takes.
 *
 * @module inputs
 */

import { Field } from "./fields.js";
import { element, onSubmit } from "./text.js";

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
    onSubmit(element("input-form"), element("input-send"), () => this.#send());
    element("input-end").addEventListener("click", () => this.#ask((job) => this.#jobs.endInputs(job)));
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
      this.#field = new Field("Input", schema, { required: true, choose: true });
      element("input-field").replaceChildren(this.#field.node);
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

  async #send() {
    const field = this.#field;
    let value;
    try {
      value = field.read();
    } catch {
      return field.focus();
    }
    if (await this.#ask((job) => this.#jobs.send(job, value))) field.clear();
    field.focus();
  }

  /** Return whether the server took it; why it did not stands at the field. */
  async #ask(call) {
    const field = this.#field;
    field.complain("");
    element("input-send").disabled = element("input-end").disabled = true;
    try {
      await call(this.#job.id);
      return true;
    } catch (error) {
      field.complain(error.message);
      return false;
    } finally {
      element("input-send").disabled = element("input-end").disabled = false;
    }
  }
}
