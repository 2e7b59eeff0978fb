/**
 * Cancelling, or submitting again, all jobs that the filter selects: how many they are is said first.
 *
 * @module bulk
 */

import { describe } from "./filter.js";
import { count, element, say } from "./text.js";

/** @type {Object<string, {title: string, which: string, confirm: string, done: (n: string) => string}>} */
const ACTS = {
  cancel: {
    title: "Cancel jobs?",
    which: "that have not ended",
    confirm: "Cancel them",
    done: (n) => `${n} were told to stop. Those that ran end when their handlers have stopped.`,
  },
  retry: {
    title: "Submit jobs again?",
    which: "that have ended and were not submitted again",
    confirm: "Submit them again",
    done: (n) => `${n} were submitted again.`,
  },
};

/** The dialog for all jobs that are filtered. */
export class BulkDialog {
  #dialog = element("bulk-dialog");
  #jobs = null;
  #filter;
  #asked = 0; // the number of the open dialog: an answer for an earlier one is dropped
  #act = "cancel";
  #where = {};

  /** @param {import("./filter.js").Filter} filter */
  constructor(filter) {
    this.#filter = filter;
    for (const act of ["cancel", "retry"]) element(`bulk-${act}`).addEventListener("click", () => this.#open(act));
    element("bulk-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!element("bulk-confirm").hidden) this.#confirm();
    });
    element("bulk-close").addEventListener("click", () => this.#dialog.close());
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs */
  use(jobs) {
    this.#jobs = jobs;
  }

  async #open(act) {
    this.#act = act;
    this.#where = this.#filter.where;
    const { title, which, confirm } = ACTS[act];
    // What is to be retried without a state is what failed.
    const shown = act === "retry" ? { state: "failed", ...this.#where } : this.#where;
    say(element("bulk-title"), title);
    say(element("bulk-confirm"), confirm);
    element("bulk-confirm").className = act === "cancel" ? "danger" : "primary";
    this.#report("Counting…");
    this.#dialog.showModal();
    element("bulk-close").focus();
    const asked = ++this.#asked;
    try {
      const { count: found, more } = await this.#jobs.bulk(act, this.#where, { dry_run: true });
      const many = `${count(found)}${more ? " or more" : ""}`;
      if (asked === this.#asked) this.#report(`${many} ${describe(shown)} ${which}.`, found > 0);
    } catch (error) {
      if (asked === this.#asked) this.#report(error.message);
    }
  }

  async #confirm() {
    const asked = ++this.#asked;
    this.#report("Working…");
    try {
      const { count: done, refused, message } = await this.#jobs.bulk(this.#act, this.#where);
      const but = refused ? ` ${count(refused)} could not be: ${message}` : "";
      if (asked === this.#asked) this.#report(ACTS[this.#act].done(count(done)) + but);
    } catch (error) {
      if (asked === this.#asked) this.#report(error.message);
    }
  }

  #report(text, ask = false) {
    say(element("bulk-report"), text);
    element("bulk-confirm").hidden = !ask;
    say(element("bulk-close"), ask ? "Leave them" : "Close");
  }
}
