/**
 * The tokens and the inputs of a job: texts joined, other values as JSON on lines of their own. Only the end is kept.
 *
 * @module log
 */

import { writeJSON } from "./exact.js";
import { clip, count, element, make, say, sayOrHide } from "./text.js";

export const TAIL = 5_000; // events of a job's log that are requested
const KEPT = 200_000; // characters on the page
const BLOCK = 2_000; // a block of at least so many characters ends with its line
const LONGEST_BLOCK = 20_000;
const LONGEST_TOKEN = 50_000;

/** The output of one job. A long one costs no more than its end: older blocks are removed. */
export class Log {
  #node = element("job-log");
  /** @type {?Text} */
  #text = null;
  /** @type {{node: HTMLElement, size: number}[]} */
  #blocks = [];
  #size = 0;
  #tokens = 0;
  #attempt = 0;
  #before = 0; // events that were not requested
  #left = 0; // characters that were removed

  constructor() {
    this.clear(0);
  }

  /** @param {number} before How many events of the log's beginning were not requested. */
  clear(before) {
    this.#node.replaceChildren();
    this.#text = null;
    this.#blocks = [];
    this.#size = this.#tokens = this.#attempt = this.#left = 0;
    this.#before = before;
    this.#tell();
  }

  /** Add the tokens and inputs among these events, and mark gaps. */
  add(events) {
    const atEnd = this.#node.scrollTop + this.#node.clientHeight >= this.#node.scrollHeight - 30;
    for (const event of events) {
      if (event.kind === "gap") this.#line(`${count(event.last - event.first + 1)} events are no longer kept`);
      if (event.kind === "token") this.#token(event);
      if (event.kind === "input") this.#input(event.data);
      if (event.kind === "inputs_ended") this.#line("no more inputs will come");
    }
    this.#forget();
    this.#tell();
    if (atEnd) this.#node.scrollTop = this.#node.scrollHeight;
  }

  #token(event) {
    if (event.attempt !== this.#attempt) {
      if (this.#attempt) this.#line(`attempt ${event.attempt}`);
      this.#attempt = event.attempt;
    }
    this.#tokens += 1;
    if (typeof event.data === "string") this.#write(clip(event.data, LONGEST_TOKEN));
    else this.#json(clip(writeJSON(event.data), LONGEST_TOKEN));
  }

  /** What was sent to the job, apart from what it sends. */
  #input(data) {
    const text = clip(typeof data === "string" ? data : writeJSON(data), LONGEST_TOKEN);
    this.#text = null;
    this.#append(make("div", "input", make("span", "who", "Input"), text));
    this.#grow(text.length);
  }

  #json(text) {
    const data = this.#text?.data ?? "";
    this.#write(`${data && !data.endsWith("\n") ? "\n" : ""}${text}\n`);
  }

  #write(text) {
    const block = this.#blocks[this.#blocks.length - 1];
    const lineEnds = this.#text?.data.endsWith("\n");
    if (this.#text === null || (lineEnds && block.size >= BLOCK) || block.size >= LONGEST_BLOCK) {
      this.#text = document.createTextNode("");
      this.#append(make("div", "block", this.#text));
    }
    this.#text.appendData(text);
    this.#grow(text.length);
  }

  #line(text) {
    this.#text = null;
    this.#append(make("div", "rule", text));
    this.#grow(text.length);
  }

  #append(node) {
    this.#node.append(node);
    this.#blocks.push({ node, size: 0 });
  }

  #grow(size) {
    this.#blocks[this.#blocks.length - 1].size += size;
    this.#size += size;
  }

  #forget() {
    while (this.#size > KEPT && this.#blocks.length > 1) {
      const { node, size } = /** @type {any} */ (this.#blocks.shift());
      node.remove();
      this.#size -= size;
      this.#left += size;
    }
  }

  #tell() {
    const told = [];
    if (this.#before) told.push(`the first ${count(this.#before)} events were not loaded`);
    if (this.#left) told.push(`${count(this.#left)} characters left the page`);
    sayOrHide(element("job-left-out"), told.length ? `Only the end is shown: ${told.join(", ")}.` : "");
    say(element("job-count"), this.#tokens ? count(this.#tokens) : "");
    element("job-silent").hidden = this.#blocks.length > 0;
    this.#node.hidden = this.#blocks.length === 0;
  }
}
