/**
 * The jobs of a trio_jobs server, for programs in a browser: one connection that reconnects by itself.
 *
 * Calls that were not answered when the connection broke are sent again, and open streams resume at their
 * cursor: no gap, no repeat. No dependency, no build step.
 *
 *     import { connect } from "./trio_jobs.js";
 *     const jobs = connect("https://example.org");
 *     const job = await jobs.submit("render", ["intro.md"]);
 *     for await (const event of jobs.follow(job.id)) console.log(event.kind, event.data);
 *
 * @module trio_jobs
 */

import { Connection } from "./connection.js";
import { newKey, Sender } from "./send.js";
import { fillEvents, fillJob, readValue } from "./values.js";

export { Closed, ServerError } from "./connection.js";

/** @typedef {import("./connection.js").Settings} Settings */
/** @typedef {import("./follow.js").Follow} Follow */
/** @typedef {import("./records.js").Job} Job */
/** @typedef {import("./records.js").Summary} Summary */
/** @typedef {import("./records.js").JobEvent} JobEvent */

/**
 * @typedef {object} Handler A handler that can be submitted.
 * @property {string} name
 * @property {string} description
 * @property {{name: string, schema: object, required: boolean, default?: any}[]} parameters JSON Schemas.
 * @property {?object} rest The schema of further arguments, if it accepts any.
 * @property {{name: string, schema: object, required: boolean, default?: any}[]} [keyword_only] Those that are no part of `args`.
 * @property {?object} inputs The schema of its jobs' inputs, if they take any.
 * @property {boolean} limit_key Whether its jobs take a `limit_key`.
 */

/**
 * Connect to a server. Returns at once; calls wait until the connection is open.
 *
 * @param {string|URL} url `http(s)://` of the server, or `ws(s)://` of its socket.
 * @param {Settings} [settings]
 * @returns {Jobs}
 */
export function connect(url, settings = {}) {
  return new Jobs(new Connection(socketURL(url), settings));
}

/** @param {string|URL} url */
function socketURL(url) {
  const found = new URL(url, globalThis.location?.href);
  found.hash = "";
  if (/^https?:$/.test(found.protocol)) {
    found.protocol = found.protocol.replace("http", "ws");
    found.pathname = found.pathname.replace(/\/?$/, "/v1/ws");
  }
  return found.href;
}

/** The jobs of a server: submits, finds, follows and cancels them. Made by `connect`. */
export class Jobs {
  #connection;
  /** @type {Map<string, Sender>} By job, while inputs are on their way. */
  #senders = new Map();
  /** @type {import("./values.js").Ask} */
  #ask = (message) => this.#connection.call(message);

  /** @param {Connection} connection */
  constructor(connection) {
    this.#connection = connection;
  }

  /**
   * Submit a job. It has a key: sent again after a lost connection, it is still one job.
   *
   * @param {string} handler
   * @param {any[]} [args]
   * @param {{again?: string, kwargs?: Object<string, any>, [name: string]: any}} [options] again: a job that has ended, in whose
   *   place it is; kwargs: keyword arguments; timeout, timeouts, retry, priority, delay, run_at, tags, metadata, key, exclusive,
   *   on_busy, limit_key, …
   * @returns {Promise<Job>}
   */
  async submit(handler, args = [], { again, kwargs, ...options } = {}) {
    const more = { ...(again ? { again } : {}), ...(kwargs ? { kwargs } : {}) };
    const message = { op: "submit", handler, args, ...more, options: { key: newKey(), ...options } };
    return fillJob(this.#ask, (await this.#ask(message)).job);
  }

  /**
   * Submit a job that has ended again: a new job with the same arguments.
   *
   * @param {string} job Its id.
   * @param {object} [options] In place of those that it had.
   * @returns {Promise<Job>}
   */
  async resubmit(job, options = {}) {
    return fillJob(this.#ask, (await this.#ask({ op: "resubmit", job, options: { key: newKey(), ...options } })).job);
  }

  /**
   * @param {string} job Its id.
   * @param {{whole?: boolean}} [how] With `whole: false`, `result`, `saved` and `metadata` are left out if they
   *   have more than a megabyte; `large` says which, and `value` gives them.
   * @returns {Promise<Job>}
   */
  async get(job, { whole = true } = {}) {
    const found = (await this.#ask({ op: "get", job })).job;
    return whole ? fillJob(this.#ask, found) : found;
  }

  /**
   * Return a value that `get` left out, or the arguments: `get` never gives these.
   *
   * @param {Job} job
   * @param {"result"|"saved"|"metadata"|"args"|"kwargs"} name
   * @returns {Promise<any>}
   */
  async value(job, name) {
    return readValue(this.#ask, job.id, name, job.last_seq);
  }

  /**
   * Return a page of jobs, by `state` (one or several), `tags`, `handler`, `parent`, `reason`, `older_than`,
   * `newer_than`, `id_prefix`, `args_contain`, `limit` and `newest`.
   * `next` is the `cursor` of the next page; null on the last one. A page may be empty before that.
   *
   * @param {object} [filter]
   * @returns {Promise<{jobs: Summary[], next: ?string}>}
   */
  async list(filter = {}) {
    const { jobs, next } = await this.#ask({ op: "list", ...filter });
    return { jobs, next };
  }

  /**
   * Cancel, submit again or remove all jobs that match.
   *
   * @param {"cancel"|"retry"|"remove"} action
   * @param {object} where `state`, `tags`, `handler`, `parent`, `reason`, `older_than`, `newer_than`, `id_prefix`, `args_contain`; `{}` is all jobs.
   * @param {{dry_run?: boolean, message?: string}} [how] With `dry_run`, they are only counted.
   * @returns {Promise<{count: number, more: boolean, refused: number, message: ?string}>}
   */
  async bulk(action, where, how = {}) {
    return (await this.#ask({ op: "bulk", what: { action, where, ...how } })).bulk;
  }

  /**
   * Return a job's events except tokens, progress and inputs.
   *
   * @param {string} job
   * @param {{whole?: boolean}} [how] As for `get`: data of more than a megabyte is left out, and `large` is its size.
   * @returns {Promise<JobEvent[]>}
   */
  async history(job, { whole = true } = {}) {
    /** @type {JobEvent[]} */
    const found = [];
    for (let after = 0; after !== null; ) {
      const { history, next } = await this.#ask({ op: "history", job, after });
      found.push(...(whole ? await fillEvents(this.#ask, job, history) : history));
      after = next;
    }
    return found;
  }

  /** Return why a job does not run, or what it is doing: lines for people. @param {string} job @returns {Promise<string>} */
  async explain(job) {
    return (await this.#ask({ op: "explain", job })).text;
  }

  /** Wait for a job's end, and return the job. @param {string} job @returns {Promise<Job>} */
  async wait(job) {
    return fillJob(this.#ask, (await this.#ask({ op: "wait", job })).job);
  }

  /**
   * Cancel a job, and report the outcome; with `wait: false`, only request it.
   *
   * @param {string} job
   * @param {{reason?: string, grace?: number, patience?: number, wait?: boolean}} [how] Times in seconds.
   * @returns {Promise<{outcome: string, took: number, stack: ?string}>}
   */
  async cancel(job, how = {}) {
    return (await this.#ask({ op: "cancel", job, ...how })).report;
  }

  /**
   * Send a job an input. Inputs keep the order of the calls, over lost connections too, and come once. If one is
   * refused as the job has too many (`inbox_full`), what was sent after it and waits behind it is refused too.
   *
   * @param {string} job
   * @param {any} value
   * @param {{key?: string}} [how] A name of the input: the same again is sent once.
   * @returns {Promise<number>} Its cursor in the job's log.
   */
  async send(job, value, how = {}) {
    return this.sendMany(job, [value], how);
  }

  /**
   * Send a job inputs, all of them or none.
   *
   * @param {string} job
   * @param {any[]} values
   * @param {{key?: string}} [how]
   * @returns {Promise<number>} The cursor of the last of them.
   */
  async sendMany(job, values, { key } = {}) {
    return this.#input(job, values, key);
  }

  /** Say that a job will get no more inputs. @param {string} job @returns {Promise<number>} */
  async endInputs(job) {
    return this.#input(job, null);
  }

  /**
   * @param {string} job
   * @param {?any[]} values
   * @param {string} [key]
   */
  async #input(job, values, key) {
    const sender = this.#senders.get(job) ?? new Sender(this.#ask, job);
    this.#senders.set(job, sender);
    try {
      return await sender.send(values, key);
    } finally {
      if (sender.idle) this.#senders.delete(job);
    }
  }

  /** Return the handlers. @returns {Promise<Handler[]>} */
  async handlers() {
    return (await this.askHandlers()).handlers;
  }

  /** Return the handlers, and what this caller may do; older servers do not tell that. @returns {Promise<{handlers: Handler[], may?: "read"|"change"}>} */
  async askHandlers() {
    return this.#ask({ op: "handlers" });
  }

  /** Return the statistics, for callers with all rights. @returns {Promise<object>} */
  async statistics() {
    return (await this.#ask({ op: "statistics" })).statistics;
  }

  /** Return the statistics, what ended of late, and the limits, for callers with all rights. @returns {Promise<any>} */
  async overview() {
    return (await this.#ask({ op: "overview" })).overview;
  }

  /** Return the schedules, for callers with all rights. @returns {Promise<object[]>} */
  async schedules() {
    return (await this.#ask({ op: "schedules" })).schedules;
  }

  /** Let a schedule fire no more, in any process. @param {string} name @returns {Promise<object[]>} The schedules. */
  async pauseSchedule(name) {
    return (await this.#ask({ op: "pause_schedule", name })).schedules;
  }

  /** Let a schedule fire again. @param {string} name @returns {Promise<object[]>} The schedules. */
  async resumeSchedule(name) {
    return (await this.#ask({ op: "resume_schedule", name })).schedules;
  }

  /** Submit a job of a schedule now. @param {string} name @returns {Promise<Job>} */
  async triggerSchedule(name) {
    return fillJob(this.#ask, (await this.#ask({ op: "trigger_schedule", name })).job);
  }

  /**
   * Pause handlers for all workers, for callers with all rights. @param {?string[]} handlers Null stands for all.
   * @returns {Promise<object>} The statistics.
   */
  async pause(handlers) {
    return (await this.#ask({ op: "pause", handlers })).statistics;
  }

  /** Resume handlers; with null, all that are paused. @param {?string[]} handlers @returns {Promise<object>} */
  async resume(handlers) {
    return (await this.#ask({ op: "resume", handlers })).statistics;
  }

  /**
   * Follow a job's events to its end: `for await (const event of jobs.follow(id))`.
   *
   * @param {string} job
   * @param {{after?: number, policy?: "gap"|"block", whole?: boolean}} [from] The cursor to start behind, and options. With
   *   "block", the job waits for this reader; with "gap", events that retention dropped are replaced by one of the kind "gap".
   *   `whole` is as for `history`.
   * @returns {Follow}
   */
  follow(job, { after = 0, policy = "gap", whole = true } = {}) {
    const fill = async (/** @type {JobEvent[]} */ events) => (whole ? fillEvents(this.#ask, job, events) : events);
    return this.#connection.follow(job, after, policy, fill);
  }

  /** Close the connection for good: open calls and streams fail with `Closed`. */
  close() {
    this.#connection.close();
  }
}
