/**
 * What the server is doing, while no job is selected; for those who see all jobs. Requested now and then while it is
 * visible.
 *
 * @module overview
 */

import { count, duration, element, make, say, sayOrHide } from "./text.js";

const EVERY = 5000; // milliseconds from an answer to the next request
const COUNTED = 10_000; // jobs of the last hour: the server counts no more

/** The overview, with the handlers and their pauses, and the limits. */
export class Overview {
  #jobs = null;
  #timer = 0;
  #round = 0; // the number of the last request: answers to older ones are dropped
  #shown = true;
  #handlers = [];
  #filter;

  /** @param {import("./filter.js").Filter} filter */
  constructor(filter) {
    this.#filter = filter;
    document.addEventListener("visibilitychange", () => this.refresh());
    element("overview").addEventListener("click", ({ target }) => {
      const tile = target.closest("[data-show]");
      if (tile === null) return;
      filter.set({ state: tile.dataset.show, time: tile.dataset.time ?? "" });
      if (location.hash === "#overview") location.hash = ""; // on a phone, to the list
    });
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs The connection to use from now on. */
  async use(jobs) {
    this.#jobs = jobs;
    this.#round += 1;
    this.#hide(true);
    const found = await jobs.handlers().catch(() => []);
    if (jobs !== this.#jobs) return;
    this.#handlers = found.map(({ name }) => name);
    this.#filter.offer(this.#handlers);
    this.refresh();
  }

  /** Whether it is to be seen. @param {boolean} shown */
  show(shown) {
    this.#shown = shown;
    element("overview").hidden = !shown || element("overview").dataset.seen === undefined;
    element("no-job").hidden = !shown || !element("overview").hidden;
    this.refresh();
  }

  /** Send a request now, and then every few seconds. */
  async refresh() {
    clearTimeout(this.#timer);
    const jobs = this.#jobs;
    const round = ++this.#round;
    if (jobs === null || !this.#shown || document.visibilityState === "hidden") return;
    try {
      const seen = await jobs.overview();
      if (round === this.#round) this.#fill(seen);
    } catch (error) {
      if (["forbidden", "bad_request"].includes(error.code)) return; // it is not for this caller, or not of this server
    }
    if (round === this.#round) this.#timer = setTimeout(() => this.refresh(), EVERY);
  }

  #hide(hidden) {
    if (hidden) delete element("overview").dataset.seen;
    else element("overview").dataset.seen = "";
    element("to-overview").hidden = hidden;
    element("overview").hidden = hidden || !this.#shown;
    element("no-job").hidden = !hidden || !this.#shown;
  }

  #fill({ statistics, last_minute, last_hour, oldest_due, late, limits, workers = [] }) {
    this.#hide(false);
    for (const tile of element("overview-states").querySelectorAll("[data-state]")) {
      say(tile.querySelector(".number"), count(statistics.states[tile.dataset.show] ?? 0));
    }
    const failed = last_hour.failed ?? 0;
    say(element("overview-failed"), some(failed));
    element("overview-failed").closest("button").dataset.alarm = failed > 0 ? "yes" : "";
    say(element("overview-minute"), some(sum(last_minute)));
    say(element("overview-hour"), some(sum(last_hour)));
    say(element("overview-oldest"), oldest_due > 0 ? `due for ${duration(oldest_due)}` : "nothing is due");
    say(element("overview-slots"), `${count(statistics.running)} of ${count(statistics.capacity)} used${statistics.paused ? ", claiming is paused here" : ""}`);
    say(element("overview-late"), late > 0 ? `the next tick is ${duration(late)} late` : "none is late");
    say(element("overview-readers"), count(statistics.readers));
    this.#pauses(statistics);
    this.#limits(limits);
    this.#workers(workers);
  }

  #workers(workers) {
    element("overview-workers").parentElement.hidden = workers.length === 0;
    const item = () => make("li", "", make("span", "name"), make("span", "what"));
    reuse(element("overview-workers"), workers, item, (node, { name, running, lapses }) => {
      node.children[0].dir = "auto";
      say(node.children[0], name);
      node.dataset.lost = lapses < 0 ? "yes" : "";
      const lease = lapses < 0 ? `no heartbeat: its lease lapsed ${duration(-lapses)} ago` : `its lease lasts ${duration(lapses)} more`;
      say(node.children[1], `${count(running)} running, ${lease}`);
    });
  }

  #pauses({ all_paused, paused_handlers }) {
    const names = [...new Set([...this.#handlers, ...paused_handlers])].sort();
    reuse(element("overview-handlers"), names, () => {
      const button = make("button", "changes");
      button.type = "button";
      const item = make("li", "", make("span", "name"), make("span", "what"), button);
      button.addEventListener("click", () => this.#toggle(item.dataset.name, item.dataset.paused === "yes"));
      return item;
    }, (item, name) => {
      const paused = paused_handlers.includes(name);
      item.dataset.name = name;
      item.dataset.paused = paused ? "yes" : "";
      item.children[0].dir = "auto";
      say(item.children[0], name);
      say(item.children[1], paused || all_paused ? "paused" : this.#handlers.includes(name) ? "" : "not known here");
      say(item.children[2], paused ? "Resume" : "Pause");
      item.children[2].setAttribute("aria-label", `${paused ? "Resume" : "Pause"} ${name}`);
      item.children[2].hidden = all_paused && !paused;
    });
  }

  async #toggle(name, paused) {
    try {
      this.#pauses(await (paused ? this.#jobs.resume([name]) : this.#jobs.pause([name])));
      sayOrHide(element("overview-problem"), "");
      this.refresh(); // what was asked for before may not know of it
    } catch (error) {
      sayOrHide(element("overview-problem"), error.message);
    }
  }

  #limits(limits) {
    element("overview-limits").parentElement.hidden = limits.length === 0;
    const item = () => make("li", "", make("span", "name"), make("span", "what"));
    reuse(element("overview-limits"), limits, item, (node, { name, limit, pinned, running, waiting }) => {
      node.children[0].dir = "auto";
      say(node.children[0], name);
      const full = limit.at_once !== null && !limit.keyed && running >= limit.at_once;
      node.dataset.full = full ? "yes" : "";
      const parts = [
        `${count(running)}${limit.at_once === null ? "" : ` of ${count(limit.at_once)}`} running`,
        `${count(waiting)}${limit.waiting === null ? "" : ` of ${count(limit.waiting)}`} waiting`,
        limit.per_second !== null && `${limit.per_second} per second`,
        limit.keyed && "for each key",
        pinned && "pinned",
      ];
      say(node.children[1], parts.filter(Boolean).join(", "));
    });
  }
}

const sum = (states) => Object.values(states).reduce((all, one) => all + one, 0);
const some = (number) => (number >= COUNTED ? `${count(COUNTED)}+` : count(number));

/** Show values in the items of a list, which stay where they are, and so keep the focus. */
function reuse(list, values, make_, fill) {
  while (list.children.length > values.length) list.lastElementChild.remove();
  while (list.children.length < values.length) list.append(make_());
  values.forEach((value, number) => fill(list.children[number], value));
}
