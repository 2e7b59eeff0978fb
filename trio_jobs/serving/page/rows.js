/**
 * The rows of lists: one job each, on two lines, or three with tags.
 *
 * @module rows
 */

import { ago, between, brief, count, make, moment, say, writeTag } from "./text.js";

const LONGEST = 120; // characters of a text in a row

/** Make an item of a list for a job. */
export function newItem(job) {
  const parts = ["mark", "name", "when", "args", "what", "tags"].map((part) => make("span", part));
  const row = make("a", "row", ...parts);
  row.href = `#job=${encodeURIComponent(job.id)}`;
  row.dataset.job = job.id;
  parts[0].setAttribute("aria-hidden", "true");
  for (const part of parts.slice(1)) part.dir = "auto"; // each text by itself may be right-to-left
  parts[2].dir = "ltr";
  return make("li", "", row);
}

/** Mark a row if it is the one of the selected job. */
export function mark(row, selected) {
  if (row.dataset.job === selected) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
}

/** Show a job in its row. @param {number} rate How many events it writes per second. */
export function fill(row, job, selected, rate) {
  const [, name, when, args, what, tags] = row.children;
  if (row.dataset.state !== job.state) row.dataset.state = job.state;
  say(name, job.handler);
  say(when, ago(job.finished_at ?? job.started_at ?? job.created_at));
  say(args, job.args_text ?? "");
  say(what, about(job, rate));
  say(tags, Object.entries(job.tags).map(([key, value]) => writeTag(key, value)).join("  "));
  mark(row, selected);
}

/** Return the details of a job in its row. */
function about(job, rate) {
  switch (job.state) {
    case "queued":
      return Date.parse(job.next_attempt_at) > Date.now() ? `due at ${moment(job.next_attempt_at)}` : "queued";
    case "running":
      return running(job, rate);
    case "retrying":
      if (job.reason === "awaiting_input") return job.message ? brief(job.message, LONGEST) : "waits for an input";
      return `to run again after attempt ${job.attempt}${job.message ? `: ${brief(job.message, 80)}` : ""}`;
    case "completed":
      return `completed in ${between(job.started_at ?? job.created_at, job.finished_at)}`;
    default:
      return `${job.state}${why(job)}`;
  }
}

function running({ cancel_requested_at, attempt, progress }, rate) {
  const words = [cancel_requested_at !== null ? "stopping" : "running"];
  if (attempt > 1) words.push(`attempt ${attempt}`);
  if (rate > 0) words.push(`${rate < 10 ? rate.toFixed(1) : count(Math.round(rate))} events/s`);
  if (progress !== null) {
    const { done, total, message } = progress;
    words.push(total ? `${Math.floor((100 * done) / total)} %` : count(done));
    if (message) words.push(brief(message, 80));
  }
  return words.join(", ");
}

function why(job) {
  const text = job.message || job.reason;
  return text ? `: ${brief(text, LONGEST)}` : "";
}
