/**
 * The attempts of the selected job, side by side: when each ran, how it ended, and what it sent.
 *
 * @module attempts
 */

import { line } from "./log.js";
import { range } from "./range.js";
import { ending } from "./timeline.js";
import { brief, count, duration, element, make, moment } from "./text.js";

/** @typedef {import("./records.js").JobEvent} JobEvent */

const MOST = 6; // attempts, the last ones
const EVENTS = 1_000; // of one attempt, its last ones
const TEXT = 20_000; // characters of one attempt
const ENDS = { retried: "to run again", completed: "completed", failed: "failed", cancelled: "cancelled", expired: "expired" };

/** The part of a job that compares its attempts; it reads nothing until it is opened. */
export class Attempts {
  #node = element("job-attempts");
  #jobs = null;
  #job = "";
  /** @type {Map<number, {started: JobEvent, ended: ?JobEvent}>} */
  #attempts = new Map();
  /** @type {Map<number, HTMLElement>} What is shown of attempts that have ended. */
  #made = new Map();
  #end = 0;

  constructor() {
    this.#node.addEventListener("toggle", () => this.#draw());
  }

  /** Begin with another job. @param {import("./trio_jobs.js").Jobs} jobs @param {string} job */
  clear(jobs, job) {
    this.#jobs = jobs;
    this.#job = job;
    this.#attempts.clear();
    this.#made.clear();
    this.#end = 0;
    this.#node.hidden = true;
    this.#node.open = false;
    element("attempts").replaceChildren();
  }

  /** Note how attempts begin and end. @param {JobEvent[]} events */
  add(events) {
    let news = false;
    for (const event of events) {
      const { kind, attempt = 0, seq } = event;
      this.#end = Math.max(this.#end, seq);
      const known = this.#attempts.get(attempt);
      if (kind === "started" && !known) this.#attempts.set(attempt, { started: event, ended: null });
      else if (kind in ENDS && known && !known.ended) known.ended = event;
      else continue;
      news = true;
    }
    this.#node.hidden = this.#attempts.size < 2;
    if (news) this.#draw();
  }

  async #draw() {
    if (!this.#node.open || this.#node.hidden) return;
    const job = this.#job;
    const shown = [...this.#attempts].slice(-MOST);
    const made = await Promise.all(shown.map(([attempt, found]) => this.#column(attempt, found)));
    if (job !== this.#job) return;
    const left = this.#attempts.size - shown.length;
    const note = left > 0 ? [make("p", "note", `The last ${MOST} of ${count(this.#attempts.size)} attempts are shown.`)] : [];
    element("attempts").replaceChildren(...note, make("div", "columns", ...made));
  }

  /** Return an attempt as it is shown; what it sent is read once it has ended, and until then each time. */
  async #column(attempt, { started, ended }) {
    const before = this.#made.get(attempt);
    if (before) return before;
    const made = make("section", "attempt", make("h4", "", `Attempt ${attempt}`));
    made.dataset.state = ended ? (ended.kind === "retried" ? "retrying" : ended.kind) : "running";
    const what = ended ? `${ENDS[ended.kind]}${ended.kind === "completed" ? "" : `: ${ending(ended.data)}`}` : "running";
    const took = ended ? `, for ${duration(ended.timestamp - started.timestamp)}` : "";
    const facts = [make("p", "how", what), make("p", "note", `${moment(started.timestamp * 1000)}${took}, at ${brief(started.data)}`)];
    made.append(...facts, ...(await this.#sent(started, ended)));
    if (ended) this.#made.set(attempt, made);
    return made;
  }

  /** Return what an attempt sent: the end of it, and when the first of it came. */
  async #sent(started, ended) {
    const last = ended?.seq ?? this.#end;
    const after = Math.max(started.seq, last - EVENTS);
    const [text, found] = [line(), /** @type {JobEvent[]} */ ([])];
    try {
      for await (const events of range(this.#jobs, this.#job, after, last)) found.push(...events);
    } catch (error) {
      return [make("p", "error", error.message)];
    }
    const tokens = found.filter(({ kind }) => kind === "token");
    const sent = found.map(text).join("");
    const first = after === started.seq && tokens.length ? `, the first after ${duration((tokens[0].timestamp ?? 0) - started.timestamp)}` : "";
    const whole = after === started.seq && sent.length <= TEXT;
    const about = tokens.length ? `${whole ? "" : "the last of "}${count(tokens.length)} sent${first}` : "nothing sent";
    return [make("p", "note", whole ? about : `${about}; only the end is shown`), ...(sent ? [make("pre", "", sent.slice(-TEXT))] : [])];
  }
}
