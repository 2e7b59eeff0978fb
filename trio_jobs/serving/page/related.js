/**
 * The jobs that the selected job has started, the job itself as JSON, and what it is doing.
 *
 * @module related
 */

import { writeJSON } from "./exact.js";
import { copy } from "./output.js";
import { clip, count, element, make, say, sayOrHide } from "./text.js";

const MOST = 50; // children, the newest
const EVERY = 2_000; // milliseconds between two looks at a job that has not ended
const OVER = new Set(["completed", "failed", "cancelled"]);

/** The children of a job, its record as the server sends it, and an explanation of its state. */
export class Related {
  #jobs = null;
  /** @type {any} */
  #job = null;

  constructor() {
    element("job-json").addEventListener("toggle", () => this.#json());
    element("job-why").addEventListener("toggle", () => this.#why());
    element("json-copy").addEventListener("click", () => copy(element("json-copy"), writeJSON(this.#job, 2)));
    setInterval(() => {
      const seen = document.visibilityState === "visible" && !element("job-view").hidden;
      if (!seen || !this.#job || OVER.has(this.#job.state)) return;
      this.#children();
      this.#why();
    }, EVERY);
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs @param {import("./trio_jobs.js").Job} job */
  show(jobs, job) {
    if (job.id !== this.#job?.id) element("job-children").hidden = true;
    if (job.id !== this.#job?.id) element("job-why").open = false;
    element("job-why").hidden = OVER.has(job.state);
    this.#jobs = jobs;
    this.#job = job;
    this.#json();
    this.#children();
    this.#why();
  }

  /** Say why it does not run, or where its tasks stand, as long as somebody looks. */
  async #why() {
    if (!element("job-why").open || element("job-why").hidden) return;
    const { id } = this.#job;
    const text = await this.#jobs.explain(id).catch((error) => error.message);
    if (id === this.#job.id) say(element("job-why").querySelector("pre"), clip(text));
  }

  #json() {
    if (element("job-json").open && this.#job) say(element("job-json").querySelector("pre"), clip(writeJSON(this.#job, 2)));
  }

  async #children() {
    const { id } = this.#job;
    let found;
    try {
      found = await this.#jobs.list({ parent: id, newest: true, limit: MOST });
    } catch {
      return; // the header says what has become of the connection
    }
    if (id !== this.#job.id) return;
    element("job-children").hidden = found.jobs.length === 0;
    say(element("children-count"), `${count(found.jobs.length)}${found.next === null ? "" : "+"}`);
    const shown = new Map([...element("children").children].map((row) => [row.dataset.job, row]));
    element("children").replaceChildren(...found.jobs.map((job) => child(job, shown.get(job.id))));
    sayOrHide(element("children-note"), found.next === null ? "" : "The newest are shown.");
  }
}

/** Return a row of the list: the one that was there, so that it keeps the focus. */
function child(job, before) {
  const row = before ?? make("li", "", make("a", "", job.handler), make("span", "state"), make("span", "note", job.id));
  row.dataset.job = job.id;
  row.dataset.state = job.state;
  row.firstElementChild.href = `#job=${encodeURIComponent(job.id)}`;
  say(row.children[1], job.state);
  return row;
}
