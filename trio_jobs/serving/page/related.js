/**
 * The jobs that the selected job has started, and the job itself as JSON.
 *
 * @module related
 */

import { writeJSON } from "./exact.js";
import { copy } from "./output.js";
import { clip, count, element, make, say, sayOrHide } from "./text.js";

const MOST = 50; // children, the newest
const EVERY = 2_000; // milliseconds between two looks at the children of a job that runs
const OVER = new Set(["completed", "failed", "cancelled"]);

/** The children of a job, and its record as the server sends it. */
export class Related {
  #jobs = null;
  /** @type {any} */
  #job = null;

  constructor() {
    element("job-json").addEventListener("toggle", () => this.#json());
    element("json-copy").addEventListener("click", () => copy(element("json-copy"), writeJSON(this.#job, 2)));
    setInterval(() => {
      const seen = document.visibilityState === "visible" && !element("job-view").hidden;
      if (seen && this.#job && !OVER.has(this.#job.state)) this.#children();
    }, EVERY);
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs @param {import("./trio_jobs.js").Job} job */
  show(jobs, job) {
    if (job.id !== this.#job?.id) element("job-children").hidden = true;
    this.#jobs = jobs;
    this.#job = job;
    this.#json();
    this.#children();
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
