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

import { readJSON, writeJSON } from "./exact.js";
import { Follow } from "./follow.js";
import { newKey, Sender } from "./send.js";
import { fillEvents, fillJob, readValue } from "./values.js";

/** @typedef {import("./records.js").Job} Job */
/** @typedef {import("./records.js").Summary} Summary */
/** @typedef {import("./records.js").JobEvent} JobEvent */
/** @typedef {"connecting"|"open"|"waiting"|"closed"} ConnectionState */

/**
 * @typedef {object} Settings
 * @property {string} [token] Sent to the server as `Authorization: Bearer TOKEN`.
 * @property {(state: ConnectionState, detail: {delay?: number, code?: number, reason?: string}) => void} [onstate]
 *   Called when the connection changes: "waiting" says for how many seconds, and why the last one closed.
 */

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

/** @typedef {{message: object, resolve: (answer: any) => void, reject: (error: Error) => void, counts: boolean, sent: boolean}} Call */

const PROTOCOL = "trio-jobs.v1";
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/; // the characters that a browser allows in a subprotocol
const PING_EVERY = 20_000; // milliseconds
const DEADLINE = 10_000; // for a connection to open, and for an answer to a ping
const FIRST_DELAY = 500; // of the backoff, which doubles
const LONGEST_DELAY = 15_000;
const TOO_LARGE = 1009; // the code with which a server closes the connection
const SMALL = 1024; // characters that every server takes in one message
const CALLS = 32; // the server's limit; further calls wait here

/** The server refused a call. `code` is the reason; `details` are the facts. */
export class ServerError extends Error {
  /** @param {{code: string, message: string}} error The server's error. */
  constructor({ code, message, ...details }) {
    super(message);
    this.name = "ServerError";
    this.code = code;
    this.details = details;
  }
}

/** The connection was closed by `close`, before the answer arrived. */
export class Closed extends Error {
  constructor() {
    super("the connection was closed");
    this.name = "Closed";
  }
}

/**
 * Connect to a server. Returns at once; calls wait until the connection is open.
 *
 * @param {string|URL} url `http(s)://` of the server, or `ws(s)://` of its socket.
 * @param {Settings} [settings]
 * @returns {Jobs}
 */
export function connect(url, settings = {}) {
  return new Jobs(socketURL(url), settings);
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

/** A connection to a server: submits, finds, follows and cancels jobs. Made by `connect`. */
export class Jobs {
  #url;
  #settings;
  /** @type {?WebSocket} */
  #socket = null;
  #closed = false;
  #failures = 0; // connections in a row without an answer
  #lastId = 0;
  /** @type {Map<number, Call>} Calls without an answer, in the order of their ids. */
  #calls = new Map();
  /** @type {Map<number, Follow>} */
  #follows = new Map();
  /** @type {Map<string, Sender>} By job, while inputs are on their way. */
  #senders = new Map();
  #inFlight = 0;
  #timers = { retry: 0, ping: 0, deadline: 0 };
  #wake = () => this.#hurry();
  /** @type {import("./values.js").Ask} */
  #ask = (message) => this.#call(message);

  /**
   * @param {string} url
   * @param {Settings} settings
   */
  constructor(url, settings) {
    if (settings.token && !TOKEN.test(settings.token)) {
      throw new TypeError("a token for a browser has letters, digits and !#$%&'*+.^_`|~- only");
    }
    this.#url = url;
    this.#settings = settings;
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.document?.addEventListener("visibilitychange", this.#wake);
    this.#open();
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
    return fillJob(this.#ask, (await this.#call(message)).job);
  }

  /**
   * Submit a job that has ended again: a new job with the same arguments.
   *
   * @param {string} job Its id.
   * @param {object} [options] In place of those that it had.
   * @returns {Promise<Job>}
   */
  async resubmit(job, options = {}) {
    return fillJob(this.#ask, (await this.#call({ op: "resubmit", job, options: { key: newKey(), ...options } })).job);
  }

  /**
   * @param {string} job Its id.
   * @param {{whole?: boolean}} [how] With `whole: false`, `result`, `saved` and `metadata` are left out if they
   *   have more than a megabyte; `large` says which, and `value` gives them.
   * @returns {Promise<Job>}
   */
  async get(job, { whole = true } = {}) {
    const found = (await this.#call({ op: "get", job })).job;
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
    const { jobs, next } = await this.#call({ op: "list", ...filter });
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
    return (await this.#call({ op: "bulk", what: { action, where, ...how } })).bulk;
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
      const { history, next } = await this.#call({ op: "history", job, after });
      found.push(...(whole ? await fillEvents(this.#ask, job, history) : history));
      after = next;
    }
    return found;
  }

  /** Return why a job does not run, or what it is doing: lines for people. @param {string} job @returns {Promise<string>} */
  async explain(job) {
    return (await this.#call({ op: "explain", job })).text;
  }

  /** Wait for a job's end, and return the job. @param {string} job @returns {Promise<Job>} */
  async wait(job) {
    return fillJob(this.#ask, (await this.#call({ op: "wait", job })).job);
  }

  /**
   * Cancel a job, and report the outcome; with `wait: false`, only request it.
   *
   * @param {string} job
   * @param {{reason?: string, grace?: number, patience?: number, wait?: boolean}} [how] Times in seconds.
   * @returns {Promise<{outcome: string, took: number, stack: ?string}>}
   */
  async cancel(job, how = {}) {
    return (await this.#call({ op: "cancel", job, ...how })).report;
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
    return this.#call({ op: "handlers" });
  }

  /** Return the statistics, for callers with all rights. @returns {Promise<object>} */
  async statistics() {
    return (await this.#call({ op: "statistics" })).statistics;
  }

  /** Return the statistics, what ended of late, and the limits, for callers with all rights. @returns {Promise<any>} */
  async overview() {
    return (await this.#call({ op: "overview" })).overview;
  }

  /** Return the schedules, for callers with all rights. @returns {Promise<object[]>} */
  async schedules() {
    return (await this.#call({ op: "schedules" })).schedules;
  }

  /** Let a schedule fire no more, in any process. @param {string} name @returns {Promise<object[]>} The schedules. */
  async pauseSchedule(name) {
    return (await this.#call({ op: "pause_schedule", name })).schedules;
  }

  /** Let a schedule fire again. @param {string} name @returns {Promise<object[]>} The schedules. */
  async resumeSchedule(name) {
    return (await this.#call({ op: "resume_schedule", name })).schedules;
  }

  /** Submit a job of a schedule now. @param {string} name @returns {Promise<Job>} */
  async triggerSchedule(name) {
    return fillJob(this.#ask, (await this.#call({ op: "trigger_schedule", name })).job);
  }

  /**
   * Pause handlers for all workers, for callers with all rights. @param {?string[]} handlers Null stands for all.
   * @returns {Promise<object>} The statistics.
   */
  async pause(handlers) {
    return (await this.#call({ op: "pause", handlers })).statistics;
  }

  /** Resume handlers; with null, all that are paused. @param {?string[]} handlers @returns {Promise<object>} */
  async resume(handlers) {
    return (await this.#call({ op: "resume", handlers })).statistics;
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
    if (this.#closed) throw new Closed();
    const id = ++this.#lastId;
    const follow = new Follow({ id, job, policy }, after, {
      send: (message) => this.#send(message),
      resume: () => this.#ready && follow.resume(),
      forget: () => this.#follows.delete(id),
      fill: async (events) => (whole ? fillEvents(this.#ask, job, events) : events),
    });
    this.#follows.set(id, follow);
    if (this.#ready) follow.resume();
    return follow;
  }

  /** Close the connection for good: open calls and streams fail with `Closed`. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.document?.removeEventListener("visibilitychange", this.#wake);
    this.#drop(1000);
    for (const call of this.#calls.values()) call.reject(new Closed());
    this.#calls.clear();
    for (const follow of [...this.#follows.values()]) follow.fail(new Closed());
    this.#say("closed");
  }

  get #ready() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** @param {ConnectionState} state */
  #say(state, detail = {}) {
    this.#settings.onstate?.(state, detail);
  }

  /** @param {{op: string, [name: string]: any}} message @returns {Promise<any>} */
  #call(message) {
    if (this.#closed) return Promise.reject(new Closed());
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      const counts = message.op !== "wait"; // a wait may take any time, as a follow may
      this.#calls.set(id, { message: { ...message, id }, resolve, reject, counts, sent: false });
      this.#sendCalls();
    });
  }

  #sendCalls() {
    if (!this.#ready) return;
    for (const call of this.#calls.values()) {
      if (call.sent || (call.counts && this.#inFlight >= CALLS)) continue;
      call.sent = true;
      this.#inFlight += Number(call.counts);
      this.#send(call.message);
    }
  }

  /** @param {object} message */
  #send(message) {
    if (this.#ready) this.#socket?.send(writeJSON(message));
  }

  #open() {
    const { token } = this.#settings;
    const socket = new WebSocket(this.#url, token ? [PROTOCOL, `bearer.${token}`] : [PROTOCOL]);
    this.#socket = socket;
    this.#timers.deadline = setTimeout(() => this.#lost({ reason: "the server does not answer" }), DEADLINE);
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code, reason }) => this.#lost({ code, reason });
    this.#say("connecting");
  }

  #opened() {
    this.#inFlight = 0;
    for (const call of this.#calls.values()) call.sent = false;
    this.#ping(); // its answer shows that the server works, and not only listens
    this.#sendCalls();
    for (const follow of this.#follows.values()) follow.resume();
    this.#say("open");
  }

  #ping() {
    clearTimeout(this.#timers.ping);
    clearTimeout(this.#timers.deadline);
    this.#send({ op: "ping", id: ++this.#lastId });
    this.#timers.deadline = setTimeout(() => this.#lost({ reason: "the server has fallen silent" }), DEADLINE);
    this.#timers.ping = setTimeout(() => this.#ping(), PING_EVERY);
  }

  /** The network is back, or the page visible: connect now, or check the open connection. */
  #hurry() {
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.#ready) this.#ping();
    else if (this.#socket === null && !this.#closed) this.#again();
  }

  #again() {
    clearTimeout(this.#timers.retry);
    this.#open();
  }

  /** @param {number} [code] Drop the socket, without waiting for its close frame. */
  #drop(code) {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  /** @param {{code?: number, reason?: string}} why */
  #lost(why) {
    this.#drop();
    if (why.code === TOO_LARGE) this.#refuseLargest();
    for (const follow of this.#follows.values()) follow.pause();
    const longest = Math.min(FIRST_DELAY * 2 ** this.#failures, LONGEST_DELAY);
    const delay = longest * (0.5 + Math.random() / 2); // random, so that clients do not reconnect all at once
    this.#failures += 1;
    this.#timers.retry = setTimeout(() => this.#again(), delay);
    this.#say("waiting", { delay: delay / 1000, ...why });
  }

  /** The server does not say which message was too large; it was the largest. */
  #refuseLargest() {
    let [id, size] = [0, SMALL];
    for (const { message, sent } of this.#calls.values()) {
      const its = writeJSON(message).length;
      if (sent && its > size) [id, size] = [message.id, its];
    }
    this.#answered(id, { error: new ServerError({ code: "too_large", message: "the request is larger than the server takes" }) });
  }

  /** @param {string} data */
  #received(data) {
    const message = readJSON(data);
    const { re } = message;
    if (message.pong) {
      this.#failures = 0;
      clearTimeout(this.#timers.deadline);
    } else if (message.error?.code === "closing") {
      return; // the server is about to restart, and the call is sent again then
    } else {
      if (message.error) message.error = new ServerError(message.error);
      this.#follows.get(re)?.receive(message);
      this.#answered(re, message);
    }
  }

  /**
   * @param {number} re
   * @param {any} message
   */
  #answered(re, message) {
    const call = this.#calls.get(re);
    if (call === undefined) return;
    this.#calls.delete(re);
    this.#inFlight -= Number(call.counts);
    if (message.error) call.reject(message.error);
    else call.resolve(message);
    this.#sendCalls();
  }
}
