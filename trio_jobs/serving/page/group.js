/**
 * One list, of the jobs in some states: a page of it at a time, so that neither the page nor a request grows.
 *
 * @module group
 */

import { fill, newItem } from "./rows.js";
import { count, say } from "./text.js";

export const ROWS = 50; // on a page of a list

/** One list, of the jobs in some states. */
export class Group {
  #node;
  #list;
  /** @type {Map<string, HTMLElement>} */
  #items = new Map();
  #older;
  #newer;
  /** @type {string[]} The cursors of the pages before this one, and its own: the first page has none. */
  #cursors = [];
  #before = 0; // rows on the pages before
  #next = null;
  /** Called when the user asks for another page. */
  onpage = () => {};

  /** @param {any} node */
  constructor(node) {
    this.#node = node;
    this.#list = node.querySelector(".rows");
    this.#older = node.querySelector(".older");
    this.#newer = node.querySelector(".newer");
    this.#older.addEventListener("click", () => {
      this.#cursors.push(this.#next);
      this.#before += this.#items.size;
      this.#turned();
    });
    this.#newer.addEventListener("click", () => {
      this.first();
      this.#turned();
    });
    this.states = (node.dataset.states ?? "").split(" ");
    this.filter = node.dataset.reason ? { reason: node.dataset.reason } : {};
  }

  /** @returns {?string} Where the page begins that is shown. */
  get cursor() {
    return this.#cursors.at(-1) ?? null;
  }

  /** Go back to the first page. */
  first() {
    this.#cursors = [];
    this.#before = 0;
  }

  #turned() {
    this.#older.disabled = this.#newer.disabled = true; // until its rows are there
    this.onpage();
  }

  /**
   * @param {import("./trio_jobs.js").Summary[]} jobs
   * @param {string} selected
   * @param {{asked: boolean, next: ?string, rates: Map<string, number>}} how
   */
  show(jobs, selected, { asked, next, rates }) {
    this.#node.hidden = !asked || ("reason" in this.filter && jobs.length === 0 && this.cursor === null);
    this.#next = next;
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
      fill(item.firstElementChild, job, selected, rates.get(job.id) ?? 0);
      const place = before === null ? this.#list.firstElementChild : before.nextElementSibling;
      if (place !== item) this.#list.insertBefore(item, place);
      before = item;
    }
    const last = this.#before + jobs.length;
    const some = this.cursor === null ? `${count(last)}${next === null ? "" : "+"}` : `from ${count(this.#before + 1)}`;
    say(this.#node.querySelector(".count"), some);
    this.#older.hidden = next === null;
    this.#newer.hidden = this.cursor === null;
    this.#older.disabled = this.#newer.disabled = false;
    this.#node.querySelector(".nothing").hidden = jobs.length > 0;
  }
}
