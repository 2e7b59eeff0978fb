/**
 * What is paused for all workers, and the buttons that change it; only for those who see all jobs.
 *
 * @module pause
 */

import { element, say, sayOrHide } from "./text.js";

/** The line that says what is paused, and the buttons. */
export class Pauses {
  #jobs = null;
  #seen = null; // the statistics, unless they are not for this caller
  #handler; // returns that of the selected job

  /** @param {() => ?string|undefined} handler */
  constructor(handler) {
    this.#handler = handler;
    element("pause-all").addEventListener("click", () => this.#set(null, this.#any()));
    element("pause-handler").addEventListener("click", () => this.#set([handler()], this.#holds(handler())));
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs */
  use(jobs) {
    this.#jobs = jobs;
  }

  /** Ask what is paused, and show it. */
  async refresh() {
    const seen = await this.#jobs?.statistics().catch(() => null);
    this.#show(seen ?? null);
  }

  #any() {
    return this.#seen.all_paused || this.#seen.paused_handlers.length > 0;
  }

  #holds(handler) {
    return this.#seen.paused_handlers.includes(handler);
  }

  async #set(handlers, paused) {
    const seen = await (paused ? this.#jobs.resume(handlers) : this.#jobs.pause(handlers)).catch(() => null);
    if (seen !== null) this.#show(seen);
  }

  #show(seen) {
    this.#seen = seen;
    const handler = this.#handler();
    const all = element("pause-all");
    const one = element("pause-handler");
    all.hidden = seen === null;
    one.hidden = seen === null || seen.all_paused || !handler;
    sayOrHide(element("paused"), seen === null ? "" : text(seen));
    if (seen === null) return;
    say(all, this.#any() ? "Resume all" : "Pause all");
    say(one, `${this.#holds(handler) ? "Resume" : "Pause"} ${handler}`);
  }
}

function text({ all_paused, paused_handlers }) {
  if (all_paused) return "All handlers are paused: no job starts.";
  return paused_handlers.length ? `Paused: ${paused_handlers.join(", ")}` : "";
}
