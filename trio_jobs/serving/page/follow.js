/**
 * One reader of one job's log: the events that arrived, the events that were read, and the cursor.
 *
 * @module follow
 */

/** @typedef {import("./trio_jobs.js").JobEvent} JobEvent */
/**
 * @typedef {object} Connection
 * @property {(message: object) => void} send
 * @property {() => void} resume
 * @property {() => void} forget
 * @property {(events: JobEvent[]) => Promise<JobEvent[]>} fill Reads the data that was left out of events.
 */

const WINDOW = 1000; // events that the server may send before some are read
const ENDS = new Set(["completed", "failed", "cancelled", "expired"]);

/**
 * A job's events in the order of their cursors, each once, across lost connections: an async iterator.
 * Made by `Jobs.follow`. It holds at most a window of events; the server waits for the reader.
 *
 * @implements {AsyncIterableIterator<JobEvent>}
 */
export class Follow {
  #request;
  #connection;
  #came; // the cursor of the last event that arrived
  #acked;
  #live = false; // whether the request was sent on this connection
  /** @type {JobEvent[]} */
  #buffer = [];
  #over = false;
  /** @type {?Error} */
  #error = null;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** The cursor of the last event that was read; `follow(id, {after: cursor})` reads on behind it. */
  cursor;

  /**
   * @param {{id: number, job: string, policy: string}} request
   * @param {number} after
   * @param {Connection} connection
   */
  constructor(request, after, connection) {
    this.#request = request;
    this.#connection = connection;
    this.#came = this.#acked = this.cursor = after;
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Return the next event, as iterators do. @returns {Promise<IteratorResult<JobEvent, undefined>>} */
  async next() {
    await this.#some();
    const event = this.#buffer.shift();
    if (event === undefined) return this.#finish();
    const [value] = await this.#connection.fill([event]);
    this.#took(event.seq);
    return { value, done: false };
  }

  /** Return all events at hand, waiting for the first; empty after the end. @returns {Promise<JobEvent[]>} */
  async take() {
    await this.#some();
    const taken = this.#buffer;
    this.#buffer = [];
    const events = await this.#connection.fill(taken);
    if (events.length === 0) this.#finish();
    else this.#took(events[events.length - 1].seq);
    return events;
  }

  /** Stop reading; the job goes on. A call of `next` under way gets the end. @returns {Promise<{value: undefined, done: true}>} */
  async return() {
    if (this.#live && !this.#over) this.#connection.send({ op: "unfollow", id: this.#request.id });
    this.#buffer = [];
    this.#error = null;
    this.#end();
    return { value: undefined, done: true };
  }

  /** A connection was opened: follow behind the last event that arrived, once it was read. */
  resume() {
    if (this.#over || this.#live || this.#buffer.length > 0) return;
    this.#live = true;
    this.#acked = this.#came;
    this.#connection.send({ op: "follow", ...this.#request, after: this.#came, window: WINDOW });
  }

  /** The connection was lost. */
  pause() {
    this.#live = false;
  }

  /** @param {any} message A message of the server for this reader. */
  receive({ events = [], gap, end, error }) {
    for (const event of events) this.#add(event);
    if (gap !== undefined) this.#add({ kind: "gap", seq: gap.last, ...gap });
    if (end) this.#end();
    if (error !== undefined) this.fail(error);
    this.#notify();
  }

  /** @param {Error} error `next` raises it, after the events that arrived. */
  fail(error) {
    this.#error = error;
    this.#end();
  }

  /** @param {JobEvent} event */
  #add(event) {
    if (event.seq <= this.#came || this.#over) return;
    this.#came = event.seq;
    this.#buffer.push(event);
    if (ENDS.has(event.kind)) this.#end();
  }

  #end() {
    this.#over = true;
    this.#connection.forget();
    this.#notify();
  }

  /** @returns {IteratorResult<JobEvent, undefined>} */
  #finish() {
    const error = this.#error;
    this.#error = null;
    if (error !== null) throw error;
    return { value: undefined, done: true };
  }

  async #some() {
    while (this.#buffer.length === 0 && !this.#over) {
      await new Promise((resolve) => this.#waiting.push(() => resolve(undefined)));
    }
  }

  #notify() {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** @param {number} cursor */
  #took(cursor) {
    this.cursor = cursor;
    if (this.#over) return;
    if (!this.#live) {
      this.#connection.resume();
    } else if (cursor - this.#acked >= WINDOW / 2) {
      this.#acked = cursor;
      this.#connection.send({ op: "ack", id: this.#request.id, cursor });
    }
  }
}
