/**
 * The schedules, for those who see all jobs: requested now and then while the page is visible.
 *
 * @module schedules
 */

import { element, make, moment, say, sayOrHide } from "./text.js";

const EVERY = 5000; // milliseconds from an answer to the next request

/** The list of schedules, each with what can be done with it. */
export class Schedules {
  #jobs = null;
  #timer = 0;
  #items = new Map();

  /** @param {(job: import("./trio_jobs.js").Job) => void} submitted Called with a job of a schedule that was triggered. */
  constructor(submitted) {
    this.submitted = submitted;
    document.addEventListener("visibilitychange", () => this.#refresh());
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs The connection to use from now on. */
  use(jobs) {
    this.#jobs = jobs;
    this.#show([]);
    this.#refresh();
  }

  async #refresh() {
    clearTimeout(this.#timer);
    const jobs = this.#jobs;
    if (jobs === null || document.visibilityState === "hidden") return;
    try {
      const found = await jobs.schedules();
      if (jobs === this.#jobs) this.#show(found);
    } catch (error) {
      if (["forbidden", "bad_request"].includes(error.code)) return; // they are not for this caller, or not of this store
    }
    if (jobs === this.#jobs) this.#timer = setTimeout(() => this.#refresh(), EVERY);
  }

  #show(found) {
    element("schedules").hidden = found.length === 0;
    say(element("schedules").querySelector(".count"), String(found.length));
    const names = new Set(found.map(({ name }) => name));
    for (const [name, item] of this.#items) {
      if (names.has(name)) continue;
      item.remove();
      this.#items.delete(name);
    }
    const list = element("schedules").querySelector(".schedules");
    found.forEach((one, number) => {
      if (!this.#items.has(one.name)) this.#items.set(one.name, this.#newItem(one.name));
      const item = this.#items.get(one.name);
      fill(item, one);
      if (list.children[number] !== item) list.insertBefore(item, list.children[number] ?? null); // keeps the focus
    });
  }

  #newItem(name) {
    const toggle = make("button", "toggle changes");
    const trigger = make("button", "changes", "Run now");
    trigger.type = toggle.type = "button";
    const item = make("li", "", make("span", "name", name), make("span", "what"), toggle, trigger);
    toggle.addEventListener("click", () => this.#do(async (jobs) => {
      this.#show(await (item.dataset.paused ? jobs.resumeSchedule(name) : jobs.pauseSchedule(name)));
    }));
    trigger.addEventListener("click", () => this.#do(async (jobs) => this.submitted(await jobs.triggerSchedule(name))));
    return item;
  }

  async #do(act) {
    try {
      await act(this.#jobs);
      sayOrHide(element("schedules-problem"), "");
    } catch (error) {
      sayOrHide(element("schedules-problem"), error.message);
    }
  }
}

function fill(item, { paused, added, declared, handler, cron, timezone, every, next_tick }) {
  item.dataset.paused = paused ? "yes" : "";
  const rule = cron === null ? `every ${every} s` : `${cron} ${timezone ?? "UTC"}`;
  const next = next_tick === null ? "" : `, next at ${moment(next_tick)}`;
  const state = paused ? ", paused" : added || declared ? next : ", undeclared";
  say(item.querySelector(".what"), `${handler}: ${rule}${state}`);
  say(item.querySelector(".toggle"), paused ? "Resume" : "Pause");
}
