/**
 * The output of the selected job, and what can be done with it: read it to its beginning, copy it, save it, replay it.
 *
 * @module output
 */

import { line, Log, PART, sizeOf } from "./log.js";
import { range } from "./range.js";
import { count, element, say, sayOrHide } from "./text.js";

/** @typedef {import("./records.js").JobEvent} JobEvent */

export const PAGE = 5_000; // events of a job's log that are requested at once
const LONGEST_PAUSE = 2_000; // milliseconds of a replay in which nothing happens

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

/** The output of one job. It follows the end of the log, unless somebody reads an earlier part of it. */
export class Output {
  #log = new Log();
  #jobs = null;
  /** @type {any} */
  #job = null;
  #end = 0; // the cursor of the last event that arrived
  #shown = 0; // what was begun for an earlier job, or is to stop, has another number
  #follows = true;
  #replays = false;

  constructor() {
    element("log-earlier").addEventListener("click", () => this.#load(() => this.#earlier()));
    element("log-later").addEventListener("click", () => this.#load(() => this.#later()));
    element("log-end").addEventListener("click", () => this.#load(() => this.#toEnd()));
    element("log-markdown").addEventListener("click", () => this.#choose("markdown"));
    element("log-wrap").addEventListener("click", () => this.#choose("wrap"));
    element("log-copy").addEventListener("click", () => copy(element("log-copy"), this.#log.text()));
    element("log-download").addEventListener("click", () => this.#download());
    element("log-replay").addEventListener("click", () => (this.#replays ? this.#load(() => this.#toEnd()) : this.#replay()));
  }

  /**
   * Begin a job's output behind a cursor.
   *
   * @param {import("./trio_jobs.js").Jobs} jobs
   * @param {import("./trio_jobs.js").Job} job
   * @param {number} after
   */
  show(jobs, job, after) {
    this.#jobs = jobs;
    this.#job = job;
    this.#end = after;
    this.#begin(after);
    sayOrHide(element("log-problem"), "");
    this.#draw();
  }

  /** End what was begun: another job is to be shown. */
  leave() {
    this.#shown += 1;
    this.#replays = false;
  }

  /** Add events of the log's end. @param {JobEvent[]} events */
  add(events) {
    this.#end = events[events.length - 1].seq;
    if (this.#follows) this.#log.add(events);
    this.#tell();
  }

  #begin(after) {
    this.#shown += 1;
    this.#follows = true;
    this.#replays = false;
    this.#log.clear(after);
    this.#tell();
  }

  /** Read a part of the log, piece by piece, as long as that is what is to be shown. */
  #range(after, last) {
    const shown = this.#shown;
    return range(this.#jobs, this.#job.id, after, last, () => shown === this.#shown);
  }

  /** Do what a button asks for, once at a time. */
  async #load(call) {
    const buttons = ["log-earlier", "log-later", "log-end"].map(element);
    sayOrHide(element("log-problem"), "");
    for (const button of buttons) button.disabled = true;
    try {
      await call();
    } catch (error) {
      if (error.name !== "Closed") sayOrHide(element("log-problem"), error.message);
    } finally {
      for (const button of buttons) button.disabled = false;
      this.#tell();
    }
  }

  async #earlier() {
    const shown = this.#shown;
    const before = this.#log.after;
    const after = Math.max(0, before - PAGE);
    const found = [];
    for await (const events of this.#range(after, before)) found.push(...events);
    if (shown !== this.#shown) return;
    this.#log.addBefore(found, after);
    this.#follows &&= this.#log.last >= this.#end;
  }

  async #later() {
    const last = Math.min(this.#end, this.#log.last + PAGE);
    let size = 0;
    for await (const events of this.#range(this.#log.last, last)) {
      this.#log.add(events);
      size += events.reduce((sum, event) => sum + sizeOf(event), 0);
      if (size > PART) break;
    }
    this.#follows = this.#log.last >= this.#end;
  }

  async #toEnd() {
    this.#begin(Math.max(0, this.#end - PAGE));
    this.#follows = false;
    const shown = this.#shown;
    while (!this.#follows && shown === this.#shown) await this.#later(); // and what arrives meanwhile
    element("job-log").scrollTop = element("job-log").scrollHeight;
  }

  async #replay() {
    this.#begin(0);
    this.#follows = false;
    this.#replays = true;
    this.#tell();
    const shown = this.#shown;
    await this.#load(() => this.#play(shown));
    if (shown !== this.#shown) return;
    this.#replays = false;
    this.#follows = this.#log.last >= this.#end;
    this.#tell();
  }

  /** Show the events in the time that the log has for them, faster if so chosen, and with short pauses. */
  async #play(shown) {
    let before = 0;
    let now = performance.now();
    let due = now;
    for await (const events of this.#range(0, this.#end)) {
      let ready = [];
      for (const event of events) {
        const pause = before && event.timestamp ? (event.timestamp - before) * 1000 : 0;
        before = event.timestamp ?? before;
        due += Math.min(Math.max(0, pause), LONGEST_PAUSE) / Number(element("log-speed").value);
        while (due > now) {
          if (ready.length) this.#log.add(ready);
          ready = [];
          this.#tell();
          now = /** @type {any} */ (await frame());
          if (shown !== this.#shown) return;
        }
        ready.push(event);
      }
      if (ready.length) this.#log.add(ready);
    }
  }

  async #download() {
    const [button, job, shown] = [element("log-download"), this.#job, this.#shown];
    const [parts, text] = [/** @type {string[]} */ ([]), line()];
    button.disabled = true;
    try {
      for await (const events of this.#range(0, this.#end)) {
        parts.push(events.map(text).join(""));
        say(button, `${Math.floor((100 * events[events.length - 1].seq) / this.#end)} %`);
      }
      if (shown === this.#shown) save(`${job.handler.replace(/[^\w.-]+/g, "_")}-${job.id}.txt`, parts);
    } catch (error) {
      if (error.name !== "Closed") sayOrHide(element("log-problem"), error.message);
    } finally {
      say(button, "Download");
      button.disabled = false;
    }
  }

  /** Whether text is Markdown is chosen for a handler, and whether lines are wrapped for all of them. */
  #choose(name) {
    const key = this.#key(name);
    if (localStorage.getItem(key)) localStorage.removeItem(key);
    else localStorage.setItem(key, "1");
    this.#draw();
  }

  #key(name) {
    return name === "wrap" ? "trio-jobs no wrap" : `trio-jobs markdown ${this.#job.handler}`;
  }

  #draw() {
    const markdown = localStorage.getItem(this.#key("markdown")) !== null;
    const wrap = localStorage.getItem(this.#key("wrap")) === null;
    element("log-markdown").setAttribute("aria-pressed", String(markdown));
    element("log-wrap").setAttribute("aria-pressed", String(wrap));
    element("job-log").classList.toggle("wide", !wrap);
    this.#log.markdown = markdown;
  }

  #tell() {
    const { after, last, length } = this.#log;
    const whole = after === 0 && this.#follows;
    const part = `Events ${count(after + 1)} to ${count(last)} of ${count(this.#end)} are shown.`;
    sayOrHide(element("job-left-out"), whole || this.#replays ? "" : part);
    say(element("job-count"), whole && length ? count(length) : "");
    say(element("log-replay"), this.#replays ? "Stop" : "Replay");
    element("log-speed").hidden = !this.#replays;
    element("log-earlier").hidden = after === 0 || this.#replays;
    element("log-later").hidden = element("log-end").hidden = this.#follows || this.#replays;
    element("log-tools").hidden = whole && length === 0 && !this.#replays;
    element("job-silent").hidden = length > 0 || this.#replays;
  }
}

/** Copy a text, and say so on the button. @param {HTMLElement} button @param {string} text */
export async function copy(button, text) {
  const before = button.textContent ?? "";
  // A page that came over http from another machine has no clipboard.
  const done = (await navigator.clipboard?.writeText(text).then(() => true, () => false)) ?? false;
  say(button, done ? "Copied" : "Not allowed");
  setTimeout(() => say(button, before), 1500);
}

function save(name, parts) {
  const url = URL.createObjectURL(new Blob(parts, { type: "text/plain;charset=utf-8" }));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
