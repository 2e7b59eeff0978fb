/**
 * The lists of jobs: requested about once a second while the page is visible, and changed only where they differ.
 *
 * @module list
 */

import { ago, between, brief, element, make, moment, readTags, say, sayOrHide, writeTag } from "./text.js";

const EVERY = 1000; // milliseconds from an answer to the next request
const SHARE = 4; // or so many times what the answer took, if that is longer: a busy server gets fewer requests
const ROWS = 50; // rows in a list at first
// A job may change its state between the requests. In this order it is then in two answers, not in none.
const ORDER = ["queued", "running", "completed"];

/** The lists, with their filter and their keyboard control. */
export class Lists {
  #jobs = null;
  #round = 0; // the number of the last request: answers to older ones are dropped
  #timer = 0;
  #selected = "";
  /** Called whenever the lists are asked for. */
  onrefresh = () => {};
  // Those that wait for somebody are asked for last: they are shown there, and not in the queue.
  #groups = [
    ...ORDER.map((state) => new Group(document.querySelector(`.group[data-states~="${state}"]:not([data-reason])`))),
    new Group(element("waiting")),
  ];

  constructor() {
    for (const group of this.#groups) group.onmore = () => this.refresh();
    element("filter").addEventListener("submit", (event) => event.preventDefault());
    element("filter").addEventListener("input", () => this.refresh());
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

  /** Add this tag to the filter. */
  addTag(name, value) {
    const input = element("filter-tags");
    const tags = Object.entries({ ...readTags(input.value), [name]: value });
    input.value = tags.map(([key, text]) => writeTag(key, text)).join(" ");
    this.refresh();
  }

  /** Return the focus to the row that it came from. */
  focus() {
    this.#rows().find((row) => row.tabIndex === 0)?.focus();
  }

  /** Send requests now, and then every second. */
  async refresh() {
    clearTimeout(this.#timer);
    const round = ++this.#round;
    const tags = readTags(element("filter-tags").value);
    sayOrHide(element("filter-error"), tags === null ? "Tags are written name=value, with spaces between them." : "");
    if (this.#jobs === null || tags === null || document.visibilityState === "hidden") return;
    const began = performance.now();
    this.onrefresh();
    try {
      const answers = await this.#ask(tags, round);
      if (round === this.#round) this.#show(answers);
    } catch {
      // The header shows the state of the connection; the next round tries again.
    }
    if (round !== this.#round) return;
    this.#timer = setTimeout(() => this.refresh(), Math.max(EVERY, SHARE * (performance.now() - began)));
  }

  async #ask(tags, round) {
    const wanted = element("filter-state").value;
    const answers = [];
    for (const group of this.#groups) {
      const state = group.states.filter((one) => !wanted || one === wanted);
      answers.push(state.length ? await this.#pages({ state, tags, ...group.filter }, group.wanted, round) : null);
    }
    return answers;
  }

  /** Return as many jobs as a list shows, page by page: a page may be short or empty before the last. */
  async #pages(filter, wanted, round) {
    const found = [];
    let cursor = null;
    do {
      if (round !== this.#round) break;
      const limit = Math.min(wanted - found.length, 1000);
      const { jobs, next } = await this.#jobs.list({ ...filter, newest: true, limit, ...(cursor && { cursor }) });
      found.push(...jobs);
      cursor = next;
    } while (cursor !== null && found.length < wanted);
    return { jobs: found, more: cursor !== null };
  }

  #show(answers) {
    const focused = /** @type {any} */ (document.activeElement?.closest(".row"))?.dataset.job;
    const newest = new Map();
    for (const job of answers.flatMap((answer) => answer?.jobs ?? [])) {
      if (job.last_seq >= (newest.get(job.id)?.last_seq ?? 0)) newest.set(job.id, job);
    }
    this.#groups.forEach((group, number) => {
      const answer = answers[number];
      const jobs = answer?.jobs.filter((job) => newest.get(job.id) === job) ?? [];
      group.show(jobs, this.#selected, { asked: answer !== null, more: answer?.more });
    });
    if (focused !== undefined && document.activeElement?.closest(".row") === null) {
      // The row with the focus has moved to another list, or was removed.
      const rows = this.#rows();
      (rows.find((row) => row.dataset.job === focused) ?? rows[0])?.focus({ preventScroll: true });
    }
    this.#rove();
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

/** One list, of the jobs in some states. */
class Group {
  #node;
  #list;
  /** @type {Map<string, HTMLElement>} */
  #items = new Map();
  #more;
  /** How many rows it may show. */
  wanted = ROWS;
  /** Called when the user asks for more. */
  onmore = () => {};

  /** @param {any} node */
  constructor(node) {
    this.#node = node;
    this.#list = node.querySelector(".rows");
    this.#more = node.querySelector(".more");
    this.#more.addEventListener("click", () => {
      this.wanted += ROWS;
      this.onmore();
    });
    this.states = (node.dataset.states ?? "").split(" ");
    this.filter = node.dataset.reason ? { reason: node.dataset.reason } : {};
  }

  /**
   * @param {import("./trio_jobs.js").Summary[]} jobs
   * @param {string} selected
   * @param {{asked: boolean, more?: boolean}} how
   */
  show(jobs, selected, { asked, more }) {
    this.#node.hidden = !asked || ("reason" in this.filter && jobs.length === 0);
    const wanted = new Set(jobs.map((job) => job.id));
    for (const [id, item] of this.#items) {
      if (wanted.has(id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    let before = null;
    for (const job of jobs) {
      let item = this.#items.get(job.id);
      if (item === undefined) this.#items.set(job.id, (item = newItem(job)));
      fill(item.firstElementChild, job, selected);
      const place = before === null ? this.#list.firstElementChild : before.nextElementSibling;
      if (place !== item) this.#list.insertBefore(item, place);
      before = item;
    }
    say(this.#node.querySelector(".count"), more ? `${jobs.length}+` : String(jobs.length));
    this.#more.hidden = !more;
    this.#node.querySelector(".nothing").hidden = jobs.length > 0;
  }
}

function newItem(job) {
  const parts = ["mark", "name", "when", "what", "tags"].map((part) => make("span", part));
  const row = make("a", "row", ...parts);
  row.href = `#job=${encodeURIComponent(job.id)}`;
  row.dataset.job = job.id;
  parts[0].setAttribute("aria-hidden", "true");
  return make("li", "", row);
}

function mark(row, selected) {
  if (row.dataset.job === selected) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
}

function fill(row, job, selected) {
  const [, name, when, what, tags] = row.children;
  if (row.dataset.state !== job.state) row.dataset.state = job.state;
  say(name, job.handler);
  say(when, ago(job.finished_at ?? job.started_at ?? job.created_at));
  say(what, about(job));
  say(tags, Object.entries(job.tags).map(([key, value]) => writeTag(key, value)).join("  "));
  mark(row, selected);
}

/** Return the details of a job in its row. */
function about(job) {
  switch (job.state) {
    case "queued":
      return Date.parse(job.next_attempt_at) > Date.now() ? `due at ${moment(job.next_attempt_at)}` : "queued";
    case "running":
      if (job.cancel_requested_at !== null) return "stopping";
      return job.attempt > 1 ? `running, attempt ${job.attempt}` : "running";
    case "retrying":
      if (job.reason === "awaiting_input") return job.message ? brief(job.message, 120) : "waits for an input";
      return `to run again after attempt ${job.attempt}${job.message ? `: ${brief(job.message, 80)}` : ""}`;
    case "completed":
      return `completed in ${between(job.started_at ?? job.created_at, job.finished_at)}`;
    default:
      return `${job.state}${why(job)}`;
  }
}

function why(job) {
  const text = job.message || job.reason;
  return text ? `: ${brief(text, 120)}` : "";
}
