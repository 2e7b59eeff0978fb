/**
 * A connection to a server that reconnects by itself: calls that were not answered when it broke are sent again,
 * and open streams resume at their cursor.
 *
 * @module connection
 */

import { readJSON, writeJSON } from "./exact.js";
import { Follow } from "./follow.js";

/** @typedef {"connecting"|"open"|"waiting"|"closed"} ConnectionState */

/**
 * @typedef {object} Settings
 * @property {string} [token] Sent to the server as `Authorization: Bearer TOKEN`.
 * @property {(state: ConnectionState, detail: {delay?: number, code?: number, reason?: string}) => void} [onstate]
 *   Called when the connection changes: "waiting" says for how many seconds, and why the last one closed.
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

/** Calls and streams over one socket at a time. */
export class Connection {
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
  #inFlight = 0;
  #timers = { retry: 0, ping: 0, deadline: 0 };
  #wake = () => this.#hurry();

  /**
   * @param {string} url Of the server's socket.
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
   * Send a call, and return what answers it. Fails with `ServerError` if it is refused.
   *
   * @param {{op: string, [name: string]: any}} message
   * @returns {Promise<any>}
   */
  call(message) {
    if (this.#closed) return Promise.reject(new Closed());
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      const counts = message.op !== "wait"; // a wait may take any time, as a follow may
      this.#calls.set(id, { message: { ...message, id }, resolve, reject, counts, sent: false });
      this.#sendCalls();
    });
  }

  /**
   * Follow a job's events.
   *
   * @param {string} job
   * @param {number} after The cursor to start behind.
   * @param {"gap"|"block"} policy
   * @param {(events: import("./records.js").JobEvent[]) => Promise<import("./records.js").JobEvent[]>} fill Fetches what events lack.
   * @returns {Follow}
   */
  follow(job, after, policy, fill) {
    if (this.#closed) throw new Closed();
    const id = ++this.#lastId;
    const follow = new Follow({ id, job, policy }, after, {
      send: (message) => this.#send(message),
      resume: () => this.#ready && follow.resume(),
      forget: () => this.#follows.delete(id),
      fill,
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
