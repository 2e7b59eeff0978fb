/**
 * The tokens and the inputs of a job: a part of its log that has bounds, as it is or as Markdown.
 *
 * @module log
 */

import { writeJSON } from "./exact.js";
import { openFence, render } from "./markdown.js";
import { clip, count, element, make } from "./text.js";

/** @typedef {import("./records.js").JobEvent} JobEvent */
/**
 * @typedef {object} Block
 * @property {"text"|"json"|"reasoning"|"other"} kind
 * @property {HTMLElement} node
 * @property {string} text
 * @property {number} drawn How many characters of the text are in the node.
 * @property {number} nodes About how many nodes it has on the page.
 * @property {number} events How many of the events are in it.
 * @property {string} fence What begins the code block that began in the block before.
 */

const KEPT = 200_000; // characters on the page
export const PART = KEPT / 2; // about so many are added to what is read, which stays on the page
const NODES = 20_000;
const EVENTS = 20_000;
const BLOCK = 2_000; // a block of at least so many characters ends with its paragraph
const LONG_BLOCK = 8_000; // and one of so many with its line
const LONGEST_BLOCK = 20_000;
const LONGEST_TOKEN = 50_000;

/** A part of the log of one job. What exceeds its bounds is removed at the side that is not read. */
export class Log {
  /** The cursor before its first event. */
  after = 0;
  /** The cursor of its last event. */
  last = 0;
  #node = element("job-log");
  #markdown = false;
  /** @type {JobEvent[]} */
  #events = [];
  /** @type {Block[]} */
  #blocks = [];
  #size = 0;
  #nodes = 0;
  #attempt = 0;

  /** @param {number} after The cursor to begin behind. */
  clear(after) {
    this.after = this.last = after;
    this.#events = [];
    this.#empty();
  }

  /** How many events are in it, besides those that it does not show. */
  get length() {
    return this.#events.length;
  }

  /** Whether texts are shown as Markdown. */
  set markdown(on) {
    if (on === this.#markdown) return;
    this.#markdown = on;
    this.#again();
  }

  /** Add events behind the others. @param {JobEvent[]} events */
  add(events) {
    const atEnd = this.#node.scrollTop + this.#node.clientHeight >= this.#node.scrollHeight - 30;
    this.last = Math.max(this.last, ...events.slice(-1).map(({ seq }) => seq));
    this.#put(events.filter(shown));
    while (this.#tooMuch()) this.#removeFirst();
    if (atEnd) this.#node.scrollTop = this.#node.scrollHeight;
  }

  /** Add events before the others, if many the last of them; what is read stays where it is. @param {JobEvent[]} events @param {number} after */
  addBefore(events, after) {
    const below = this.#node.scrollHeight - this.#node.scrollTop;
    let from = events.length;
    for (let size = 0; from > 0 && size < PART; from -= 1) size += sizeOf(events[from - 1]);
    this.after = from > 0 ? events[from - 1].seq : after;
    this.#events.unshift(...events.slice(from).filter(shown));
    this.#again();
    this.#node.scrollTop = this.#node.scrollHeight - below;
    while (this.#tooMuch()) this.#removeLast();
  }

  /** Return what is shown as text. */
  text() {
    return this.#events.map(line()).join("");
  }

  #empty() {
    this.#node.replaceChildren();
    this.#node.hidden = true;
    this.#blocks = [];
    this.#size = this.#nodes = this.#attempt = 0;
  }

  #again() {
    const events = this.#events;
    this.#events = [];
    this.#empty();
    this.#put(events);
  }

  #put(events) {
    const first = Math.max(0, this.#blocks.length - 1);
    this.#node.hidden = events.length === 0 && this.#blocks.length === 0; // shown before it is scrolled
    for (const event of events) {
      if (event.kind === "token") this.#token(event);
      else if (event.kind === "input") this.#other("input", make("span", "who", "Input"), textOf(event));
      else this.#other("rule", event.kind === "gap" ? gone(event) : "no more inputs will come");
      this.#blocks[this.#blocks.length - 1].events += 1;
      this.#events.push(event);
    }
    for (const block of this.#blocks.slice(first)) this.#draw(block);
  }

  #token(event) {
    if (this.#attempt && event.attempt !== this.#attempt) this.#other("rule", `attempt ${event.attempt}`);
    this.#attempt = event.attempt;
    const kind = typeof event.data === "string" ? "text" : thoughtIn(event) === undefined ? "json" : "reasoning";
    const last = this.#blocks[this.#blocks.length - 1];
    const block = last?.kind === kind && !isFull(last) ? last : this.#begin(kind, last);
    const text = `${kind === "json" && block.text ? "\n" : ""}${textOf(event)}`;
    block.text += text;
    this.#size += text.length;
  }

  #begin(kind, before) {
    const fence = kind === "text" && before?.kind === "text" ? openFence(before.fence + before.text) : "";
    return this.#append(kind, make("div", kind === "reasoning" ? "block reasoning" : "block"), fence && `${fence}\n`);
  }

  #other(name, ...children) {
    const block = this.#append("other", make("div", name, ...children), "");
    block.node.dir = "auto";
    block.drawn = block.text.length;
    this.#size += block.node.textContent?.length ?? 0;
  }

  /** @returns {Block} */
  #append(kind, node, fence) {
    const block = { kind, node, fence, text: "", drawn: 0, nodes: 4, events: 0 };
    this.#nodes += block.nodes;
    this.#node.append(node);
    this.#blocks.push(block);
    return block;
  }

  #draw(block) {
    if (block.drawn === block.text.length) return;
    const { node, text, fence } = block;
    if (this.#markdown && block.kind === "text") {
      node.classList.add("markdown");
      node.replaceChildren(render(fence + text));
      this.#nodes -= block.nodes;
      block.nodes = 2 * node.querySelectorAll("*").length + 2;
      this.#nodes += block.nodes;
    } else {
      if (!node.firstChild) node.append("");
      /** @type {Text} */ (node.firstChild).appendData(text.slice(block.drawn)); // what is selected stays so
    }
    block.drawn = text.length;
  }

  #tooMuch() {
    const much = this.#size > KEPT || this.#nodes > NODES || this.#events.length > EVENTS;
    return much && this.#blocks.length > 1;
  }

  #removeFirst() {
    const gone = this.#events.splice(0, this.#drop(/** @type {Block} */ (this.#blocks.shift())));
    if (gone.length) this.after = gone[gone.length - 1].seq;
  }

  #removeLast() {
    this.#events.splice(-this.#drop(/** @type {Block} */ (this.#blocks.pop())) || this.#events.length);
    this.last = this.#events[this.#events.length - 1]?.seq ?? this.after;
    this.#attempt = this.#events.findLast(({ kind }) => kind === "token")?.attempt ?? 0;
  }

  #drop({ node, text, nodes, events }) {
    this.#size -= text.length || (node.textContent?.length ?? 0);
    this.#nodes -= nodes;
    node.remove();
    return events;
  }
}

/**
 * Return a function that returns events as text, one after the other: strings as they are, reasoning joined behind a
 * mark, all else on its own line.
 *
 * @returns {(event: JobEvent) => string}
 */
export function line() {
  let [attempt, thinks, fresh] = [0, false, true]; // fresh: a line begins
  return (event) => {
    let text = "";
    const say = (piece) => {
      text += piece;
      if (text) fresh = text.endsWith("\n");
    };
    const alone = (piece) => say(`${fresh ? "" : "\n"}${piece}\n`);
    const token = event.kind === "token";
    if (event.kind === "gap") alone(`[${gone(event)}]`);
    if (event.kind === "input") alone(`[input] ${textOf(event)}`);
    if (token && attempt && event.attempt !== attempt) alone(`[attempt ${event.attempt}]`);
    if (text) thinks = false;
    if (!token) return text;
    attempt = event.attempt ?? 0;
    const thought = thoughtIn(event);
    if ((thought !== undefined) !== thinks && !fresh) say("\n");
    if (thought !== undefined && !thinks) say("[reasoning] ");
    thinks = thought !== undefined;
    if (thinks || typeof event.data === "string") say(thought ?? event.data);
    else alone(textOf(event));
    return text;
  };
}

/** Return the text of a token that is nothing but reasoning, of a language model. @returns {string|undefined} */
function thoughtIn({ kind, data }) {
  const lonely = kind === "token" && data instanceof Object && Object.keys(data).length === 1;
  return lonely && typeof data.reasoning === "string" ? data.reasoning : undefined;
}

const shown = ({ kind }) => ["token", "input", "inputs_ended", "gap"].includes(kind);
const gone = ({ first, last }) => `${count(last - first + 1)} events are no longer kept`;
const textOf = (event) => clip(thoughtIn(event) ?? (typeof event.data === "string" ? event.data : writeJSON(event.data)), LONGEST_TOKEN);

/** @param {JobEvent} event @returns {number} How many characters it has on the page. */
export const sizeOf = (event) => (shown(event) && "data" in event ? textOf(event).length : 0);

function isFull({ text }) {
  if (text.length < BLOCK) return false;
  return text.endsWith("\n\n") || (text.length >= LONG_BLOCK && text.endsWith("\n")) || text.length >= LONGEST_BLOCK;
}
