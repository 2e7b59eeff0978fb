/**
 * The types of the client's records, for type checkers and people; this module has no code.
 *
 * @module records
 */

/** @typedef {"queued"|"running"|"retrying"|"completed"|"failed"|"cancelled"} State */

/**
 * @typedef {object} Job A snapshot; times are ISO 8601 in UTC, or null.
 * @property {string} id
 * @property {string} handler
 * @property {State} state
 * @property {?string} reason
 * @property {?string} message
 * @property {?{type: string, message: string, traceback: ?string}} error
 * @property {any} result
 * @property {number} attempt
 * @property {string} priority
 * @property {Object<string, string>} tags
 * @property {Object<string, any>} metadata
 * @property {?string} owner
 * @property {?string} key
 * @property {?string} parent
 * @property {Object<string, ?number>} timeouts
 * @property {Object<string, any>} retry
 * @property {number} spent
 * @property {any} saved
 * @property {string} created_at
 * @property {?string} started_at
 * @property {?string} finished_at
 * @property {?string} next_attempt_at
 * @property {?string} cancel_requested_at
 * @property {number} last_seq
 * @property {number} unconsumed How many inputs it has that nothing saved covers.
 * @property {?string} exclusive The name that one job of its owner holds at a time.
 * @property {?string} behind The job that has to end before this one starts.
 * @property {?string} replaced_by The job that took its place.
 * @property {?string} limit_key For whom it takes a place of its handler's keyed limit.
 * @property {?string} resubmitted_from The job that was submitted again as this one.
 * @property {?string} waiting_for What it waits for: `due`, `input`, `slot`, `worker`, `paused`, `limit NAME KEY` or `behind ID`.
 * @property {?string} ready_at When the attempt that runs said that it is ready.
 * @property {?any[]} args The arguments, if they are told.
 * @property {?Object<string, any>} kwargs The keyword arguments.
 * @property {Object<string, number>} [large] The values that were left out, with their sizes in bytes; see `get`.
 */

/**
 * @typedef {object} Listed The fields that a job has in a list only.
 * @property {?{done: number, total: ?number, message: ?string}} progress
 * @property {number} args_bytes
 * @property {number} result_bytes
 * @property {number} log_bytes
 * @property {?string} args_text The first 200 characters of the arguments as JSON, if these have no more than 16 KiB.
 */
/** @typedef {"error"|"result"|"metadata"|"key"|"timeouts"|"retry"|"spent"|"saved"|"large"|"unconsumed"|"exclusive"|"behind"|"replaced_by"|"limit_key"|"waiting_for"|"resubmitted_from"|"ready_at"|"args"|"kwargs"} Unlisted The fields that no list has. */
/** @typedef {Omit<Job, Unlisted> & Listed} Summary A job in a list; its `message` has at most 200 characters. */

/**
 * @typedef {object} JobEvent One entry of a job's log, or a gap in it.
 * @property {number} seq Its cursor; of a gap, the last one that is missing.
 * @property {string} kind Its kind, or "gap".
 * @property {number} [attempt]
 * @property {number} [timestamp] Seconds since 1970.
 * @property {any} [data]
 * @property {number} [received] Of what an attempt saved or ended with: the cursor of the last input it had received.
 * @property {number} [large] The size of the data in bytes, if it was left out.
 * @property {number} [first] Of a gap, the first cursor that is missing.
 * @property {number} [last] Of a gap, the last one.
 */

export {};
