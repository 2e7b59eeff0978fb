/**
 * The lists of jobs: requested about once a second while the page is visible, and changed only where they differ.
 *
 * @module list
 */

import { Filter } from "./filter.js";
import { Group, ROWS } from "./group.js";
import { mark } from "./rows.js";
import { element } from "./text.js";

const EVERY = 1000; // milliseconds from an answer to the next request
const SHARE = 4; // or so many times what the answer took, if that is longer: a busy server gets fewer requests
const LOOKS = 5; // requests for one page of a list: a server examines 20,000 jobs for each
// A job may change its state between the requests. In this order it is then in two answers, not in none.
const ORDER = ["queued", "running", "completed"];

/** The lists, with their filter and their keyboard control. */
export class Lists {
  #jobs = null;
  #round = 0; // the number of the last request: answers to older ones are dropped
  #timer = 0;
  #selected = "";
  /** @type {Map<string, {seq: number, at: number, rate: number}>} By job that is shown and runs. */
  #written = new Map();
  /** Called whenever the lists are asked for. */
  onrefresh = () => {};
  filter = new Filter();
  // Those that wait for somebody are asked for last: they are shown there, and not in the queue.
  #groups = [
    ...ORDER.map((state) => new Group(document.querySelector(`.group[data-states~="${state}"]:not([data-reason])`))),
    new Group(element("waiting")),
  ];

  constructor() {
    for (const group of this.#groups) group.onpage = () => this.refresh();
    this.filter.onchange = () => {
      for (const group of this.#groups) group.first();
      this.refresh();
    };
    element("jobs").addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("visibilitychange", () => this.refresh());
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs The connection to use from now on. */
  use(jobs) {
    this.#jobs = jobs;
    this.refresh();
  }

  /** @param {string} id The selected job. */
  select(id) {
    this.#selected = id;
    for (const row of this.#rows()) mark(row, id);
    this.#rove();
  }

  /** Return the focus to the row that it came from. */
  focus() {
    this.#rows().find((row) => row.tabIndex === 0)?.focus();
  }

  /** Send requests now, and then every second. */
  async refresh() {
    clearTimeout(this.#timer);
    const round = ++this.#round;
    const fields = this.filter.fields;
    if (this.#jobs === null || fields === null || document.visibilityState === "hidden") return;
    const began = performance.now();
    this.onrefresh();
    try {
      const answers = await this.#ask(fields, round);
      if (round === this.#round) this.#show(answers);
    } catch {
      // The header shows the state of the connection; the next round tries again.
    }
    if (round !== this.#round) return;
    this.#timer = setTimeout(() => this.refresh(), Math.max(EVERY, SHARE * (performance.now() - began)));
  }

  async #ask(fields, round) {
    const wanted = this.filter.state;
    const answers = [];
    for (const group of this.#groups) {
      const state = group.states.filter((one) => !wanted || one === wanted);
      answers.push(state.length ? await this.#page({ state, ...fields, ...group.filter }, group.cursor, round) : null);
    }
    return answers;
  }

  /** Return as many jobs as a list shows: a page of the server may be short or empty before the last. */
  async #page(filter, cursor, round) {
    const found = [];
    for (let looks = 0; looks < LOOKS && round === this.#round; looks += 1) {
      const limit = ROWS - found.length;
      const { jobs, next } = await this.#jobs.list({ ...filter, newest: true, limit, ...(cursor && { cursor }) });
      found.push(...jobs);
      cursor = next;
      if (cursor === null || found.length === ROWS) break;
    }
    return { jobs: found, next: cursor };
  }

  #show(answers) {
    const focused = /** @type {any} */ (document.activeElement?.closest(".row"))?.dataset.job;
    const newest = new Map();
    for (const job of answers.flatMap((answer) => answer?.jobs ?? [])) {
      if (job.last_seq >= (newest.get(job.id)?.last_seq ?? 0)) newest.set(job.id, job);
    }
    this.filter.offer([...newest.values()].map((job) => job.handler));
    const rates = this.#rates([...newest.values()].filter((job) => job.state === "running"));
    this.#groups.forEach((group, number) => {
      const answer = answers[number];
      const jobs = answer?.jobs.filter((job) => newest.get(job.id) === job) ?? [];
      group.show(jobs, this.#selected, { asked: answer !== null, next: answer?.next ?? null, rates });
    });
    if (focused !== undefined && document.activeElement?.closest(".row") === null) {
      // The row with the focus has moved to another list, or was removed.
      const rows = this.#rows();
      (rows.find((row) => row.dataset.job === focused) ?? rows[0])?.focus({ preventScroll: true });
    }
    this.#rove();
  }

  /** Return how many events per second each job has written since the last answer. */
  #rates(running) {
    const at = performance.now();
    const before = this.#written;
    this.#written = new Map();
    for (const { id, last_seq: seq } of running) {
      const last = before.get(id);
      const rate = last === undefined ? 0 : (1000 * (seq - last.seq)) / (at - last.at);
      this.#written.set(id, { seq, at, rate });
    }
    return new Map([...this.#written].map(([id, { rate }]) => [id, rate]));
  }

  #rows() {
    return [...element("jobs").querySelectorAll("a.row")];
  }

  /** One row is in the tab order: the one with the focus, else the selected, else the first. */
  #rove() {
    const rows = this.#rows();
    const current =
      rows.find((row) => row === document.activeElement) ??
      rows.find((row) => row.hasAttribute("aria-current")) ??
      rows[0];
    for (const row of rows) row.tabIndex = row === current ? 0 : -1;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const rows = this.#rows();
    const here = rows.indexOf(/** @type {any} */ (event.target));
    const steps = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1 };
    if (here < 0 || !(event.key in steps)) return;
    event.preventDefault();
    rows[Math.min(Math.max(steps[event.key], 0), rows.length - 1)].focus();
    this.#rove();
  }
}
