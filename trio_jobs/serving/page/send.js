/**
 * Sending inputs to a job: one request at a time, so that they keep their order.
 *
 * @module send
 */

import { writeJSON } from "./exact.js";

/** @typedef {{values: ?any[], key: string|undefined, alone: boolean, size: number, resolve: (seq: number) => void, reject: (error: Error) => void}} Part */

const JOINED = 64 * 1024; // characters of values that are joined to one request
const MOST = 1000; // inputs in one, as many as a server takes

/** @returns {string} 128 random bits; `crypto.randomUUID` exists on secure pages only. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The inputs of one job on their way. One request is unanswered; what is sent meanwhile goes with the next one. */
export class Sender {
  #ask;
  #job;
  /** @type {Part[]} */
  #line = [];
  /** Whether nothing is on its way. */
  idle = true;

  /**
   * @param {import("./values.js").Ask} ask
   * @param {string} job
   */
  constructor(ask, job) {
    this.#ask = ask;
    this.#job = job;
  }

  /**
   * @param {?any[]} values The inputs; null is their end.
   * @param {string} [key]
   * @returns {Promise<number>} The cursor of the last of them.
   */
  send(values, key) {
    return new Promise((resolve, reject) => {
      const alone = values === null || key !== undefined;
      this.#line.push({ values, key, alone, size: writeJSON(values).length, resolve, reject });
      if (this.idle) this.#run();
    });
  }

  async #run() {
    this.idle = false;
    while (this.#line.length > 0) {
      const parts = this.#next();
      const { values: first, key = newKey() } = parts[0];
      const values = parts.flatMap((part) => part.values);
      const request = first === null ? { op: "end_inputs" } : { op: "send", values, input_id: key };
      try {
        let { seq } = await this.#ask({ ...request, job: this.#job });
        for (const part of parts.reverse()) {
          part.resolve(seq);
          seq -= part.values?.length ?? 0;
        }
      } catch (error) {
        this.#refuse(parts, error);
      }
    }
    this.idle = true;
  }

  #next() {
    const parts = this.#line.splice(0, 1);
    let size = parts[0].size;
    let count = parts[0].values?.length ?? 0;
    while (this.#line.length > 0 && !parts[0].alone && !this.#line[0].alone) {
      size += this.#line[0].size;
      count += this.#line[0].values?.length ?? 0;
      if (size > JOINED || count > MOST) break;
      parts.push(...this.#line.splice(0, 1));
    }
    return parts;
  }

  /**
   * @param {Part[]} parts
   * @param {any} error
   */
  #refuse(parts, error) {
    const ofThese = ["invalid_payload", "key_conflict", "too_large", "bad_request"].includes(error.code);
    if (parts.length > 1 && (ofThese || error.code === "inbox_full")) {
      this.#line.unshift(...parts.map((part) => ({ ...part, alone: true }))); // some of them may be taken
      return;
    }
    // Unless it is about these values only, what was sent after them is not to come first.
    for (const part of [...parts, ...(ofThese ? [] : this.#line.splice(0))]) part.reject(error);
  }
}
