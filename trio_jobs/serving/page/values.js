/**
 * Values that are too large for an answer: requested by themselves, piece by piece, on demand.
 *
 * @module values
 */

import { readJSON } from "./exact.js";

/** @typedef {import("./trio_jobs.js").Job} Job */
/** @typedef {import("./trio_jobs.js").JobEvent} JobEvent */
/** @typedef {(message: {op: string, [name: string]: any}) => Promise<any>} Ask */

/**
 * @param {Ask} ask
 * @param {string} job
 * @param {string} field "result", "saved", "metadata", "args" or "kwargs"; or "data", of the event `seq`.
 * @param {number} seq The job's `last_seq` when the value was left out.
 * @returns {Promise<any>}
 */
export async function readValue(ask, job, field, seq) {
  const texts = [];
  for (let offset = 0; offset !== null; ) {
    const { text, next } = await ask({ op: "value", job, field, seq, offset });
    texts.push(text);
    offset = next;
  }
  return readJSON(texts.join(""));
}

/**
 * Fill in the values that were left out of a job.
 *
 * @param {Ask} ask
 * @param {Job} job
 * @returns {Promise<Job>}
 */
export async function fillJob(ask, job) {
  try {
    for (const name of Object.keys(job.large ?? {})) job[name] = await readValue(ask, job.id, name, job.last_seq);
  } catch (error) {
    if (error.code !== "changed") throw error;
    return fillJob(ask, (await ask({ op: "get", job: job.id })).job); // another value was saved meanwhile
  }
  delete job.large;
  return job;
}

/**
 * Fill in the data that was left out of events. An event whose data was dropped becomes a gap.
 *
 * @param {Ask} ask
 * @param {string} job
 * @param {JobEvent[]} events
 * @returns {Promise<JobEvent[]>}
 */
export async function fillEvents(ask, job, events) {
  if (!events.some(({ large }) => large !== undefined)) return events;
  const filled = [];
  for (const { large, ...event } of events) {
    try {
      if (large !== undefined) event.data = await readValue(ask, job, "data", event.seq);
      filled.push(event);
    } catch (error) {
      if (error.code !== "changed") throw error;
      filled.push({ kind: "gap", seq: event.seq, first: event.seq, last: event.seq });
    }
  }
  return filled;
}
