/**
 * Cancelling a job: the dialog that asks for a confirmation, and the report.
 *
 * @module cancel
 */

import { duration, element, say, sayOrHide } from "./text.js";

/** @type {Object<string, {title: string, report: (took: string) => string}>} */
const OUTCOMES = {
  cancelled: { title: "Cancelled", report: (took) => `It has stopped: its nursery closed after ${took}.` },
  finished_first: { title: "Not cancelled", report: () => "It ended by itself before it could stop." },
  already_over: { title: "Not cancelled", report: () => "It was over already." },
  stuck: { title: "Not stopped yet", report: (took) => `It was told ${took} ago and has not stopped.` },
  requested: {
    title: "Asked to stop",
    report: () => "It is told to stop; its worker has not answered yet. Its history will say when it has.",
  },
};

/** The dialog that asks for a confirmation, and shows the report. */
export class CancelDialog {
  #dialog = element("cancel-dialog");
  #jobs = null;
  #job = null;
  #asked = 0; // the number of the open dialog: a report for an earlier one is dropped

  constructor() {
    element("cancel-form").addEventListener("submit", (event) => this.#confirm(event));
    element("cancel-close").addEventListener("click", () => this.#dialog.close());
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs */
  use(jobs) {
    this.#jobs = jobs;
  }

  /** @param {import("./trio_jobs.js").Job} job */
  open(job) {
    this.#asked += 1;
    this.#job = job;
    this.#step({ title: "Cancel this job?", report: "", close: "Let it run", ask: true });
    say(element("cancel-handler"), job.handler);
    element("cancel-reason").value = "";
    this.#dialog.showModal();
    element("cancel-close").focus();
  }

  async #confirm(event) {
    event.preventDefault();
    if (element("cancel-confirm").hidden) return;
    const asked = this.#asked;
    this.#step({ title: "Cancelling", report: "It was told to stop; waiting until it has…", close: "Close", ask: false });
    element("cancel-close").focus();
    const step = await this.#cancel();
    if (asked === this.#asked) this.#step({ close: "Close", ask: false, ...step });
  }

  async #cancel() {
    try {
      const reason = element("cancel-reason").value.trim();
      const { outcome, took, stack } = await this.#jobs.cancel(this.#job.id, reason ? { reason } : {});
      const { title, report } = OUTCOMES[outcome];
      return { title, report: report(duration(took)), stack };
    } catch (error) {
      return { title: "Not cancelled", report: error.message };
    }
  }

  #step({ title, report, close, ask, stack = null }) {
    say(element("cancel-title"), title);
    say(element("cancel-report"), report);
    say(element("cancel-close"), close);
    sayOrHide(element("cancel-stack"), stack);
    element("cancel-question").hidden = !ask;
    element("cancel-confirm").hidden = !ask;
  }
}
