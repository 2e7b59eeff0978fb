/**
 * A job's history: each event with its time, and the time since the beginning.
 *
 * @module timeline
 */

import { brief, count, duration, element, make, moment } from "./text.js";

const FIRST = 20; // entries that are always shown
const LAST = 100;

const WORDS = {
  submitted: "Submitted",
  started: "Started",
  saved: "Saved",
  step: "Step",
  inputs_ended: "No more inputs",
  cancel_requested: "Cancellation requested",
  retried: "To run again",
  completed: "Completed",
  failed: "Failed",
  cancelled: "Cancelled",
  expired: "Expired",
};

/** The entries of one job, in the order of their cursors, in whatever order they arrive. */
export class Timeline {
  /** @type {Map<number, any>} */
  #events = new Map();

  clear() {
    this.#events.clear();
    this.#show();
  }

  /** Add the lifecycle events and saved values among these; repeated ones change nothing. */
  add(events) {
    const news = events.filter((event) => event.kind in WORDS && !this.#events.has(event.seq));
    if (news.length === 0) return;
    for (const event of news) this.#events.set(event.seq, event);
    this.#show();
  }

  #show() {
    const entries = joined([...this.#events.values()].sort((one, other) => one.seq - other.seq));
    const began = entries[0]?.event.timestamp ?? 0;
    const out = entries.length - FIRST - LAST;
    const shown = out > 0 ? [...entries.slice(0, FIRST), null, ...entries.slice(-LAST)] : entries;
    element("job-history").replaceChildren(...shown.map((entry) => (entry === null ? left(out) : item(entry, began))));
  }
}

/** Values saved in a row are one entry, with the last of them. */
function joined(events) {
  const entries = [];
  for (const event of events) {
    const last = entries[entries.length - 1];
    if (event.kind === "saved" && last?.event.kind === "saved") {
      last.event = event;
      last.times += 1;
    } else {
      entries.push({ event, times: 1 });
    }
  }
  return entries;
}

const left = (out) => make("li", "left", `${count(out)} entries are not shown`);

function item({ event, times }, began) {
  const time = make("time", "", moment(event.timestamp * 1000));
  time.dateTime = new Date(event.timestamp * 1000).toISOString();
  const waits = event.kind === "retried" && event.data?.reason === "awaiting_input";
  const words = make("span", "word", `${waits ? "Waits for an input" : WORDS[event.kind]}${times > 1 ? ` ×${count(times)}` : ""}`);
  const after = event.timestamp > began ? `+${duration(event.timestamp - began)}` : "";
  const made = make("li", "", words, make("span", "text", about(event)), make("span", "after", after), time);
  made.dataset.kind = event.kind;
  return made;
}

function about({ kind, data, attempt }) {
  switch (kind) {
    case "submitted":
    case "completed":
    case "inputs_ended":
      return "";
    case "step":
      return brief(data.name === undefined ? data : `${data.name}: ${brief(data.result)}`);
    case "started":
      return `attempt ${attempt} at ${brief(data)}`;
    case "saved":
      return brief(data);
    case "cancel_requested":
      return data ?? "";
    default:
      return ending(data);
  }
}

/** Return why an attempt or a job ended, and when the next attempt is due. */
export function ending({ reason, message, error, delay }) {
  const what = error ? `${error.type}: ${error.message}` : message;
  const parts = [what ? brief(what) : String(reason)];
  if (delay !== null && delay !== undefined) parts.push(`next in ${duration(delay)}`);
  return parts.join("; ");
}
