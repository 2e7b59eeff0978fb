/**
 * Values, times and tags as text. Data of a job is only ever shown as text.
 *
 * @module text
 */

import { writeJSON } from "./exact.js";

const LONGEST = 100_000; // characters of one value

/** @param {string} id @returns {any} */
export const element = (id) => document.getElementById(id);

/**
 * Make an element. Its children are elements, and strings, which stay text.
 *
 * @param {string} name
 * @param {string} [className]
 * @param {...(Node|string)} children
 * @returns {any}
 */
export function make(name, className = "", ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Call a function when a form is submitted, by its button or by Ctrl and Enter, but not while the button is disabled. */
export function onSubmit(form, button, call) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!button.disabled) call();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

/** Set an element's text, if that changes it: an unchanged page does not flicker. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Show a message in an element that is hidden without one. */
export function sayOrHide(node, text) {
  say(node, text ?? "");
  node.hidden = !text;
}

/** @param {string} text @param {number} [longest] */
export function clip(text, longest = LONGEST) {
  return text.length <= longest ? text : `${text.slice(0, longest)}… (${count(text.length - longest)} more characters)`;
}

/** Return a value on any number of lines: a string unchanged, other values as JSON. */
export function full(value) {
  return clip(typeof value === "string" ? value : writeJSON(value, 2));
}

/** Return a value on one line. */
export function brief(value, longest = 200) {
  return clip(typeof value === "string" ? value : writeJSON(value), longest);
}

/** @param {number} number @returns {string} 12,345 */
export const count = (number) => number.toLocaleString("en");

/** @param {number} size @returns {string} 3.1 MB */
export const bytes = (size) => `${(size / 1e6).toFixed(1)} MB`;

/** @param {number} seconds @returns {string} 0.12 s, 3.4 s, 2 min 5 s, 3 h 20 min, 5 d 2 h */
export function duration(seconds) {
  if (seconds < 1) return `${Math.max(0, seconds).toFixed(2)} s`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** @param {?string} time ISO 8601 @returns {string} Roughly how long ago: 5 s, 3 min, 2 h, 4 d. */
export function ago(time) {
  if (time === null) return "";
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** @param {string|number|Date} time @returns {string} In the reader's own time zone. */
export function moment(time) {
  const at = new Date(time);
  const clock = at.toLocaleTimeString([], { hour12: false });
  return at.toDateString() === new Date().toDateString() ? clock : `${at.toLocaleDateString()} ${clock}`;
}

/** @param {string} from @param {string} to Both ISO 8601. */
export const between = (from, to) => duration((Date.parse(to) - Date.parse(from)) / 1000);

/**
 * Read tags as people write them: `user=7 lang=en`, with quotes around text with a space.
 *
 * @param {string} text
 * @returns {?Object<string, string>} Null if the text has another form.
 */
export function readTags(text) {
  const one = /\s*([^\s=",]+)=(?:"([^"]*)"|([^\s",]*))(?:\s*,\s*|\s+|$)/y;
  /** @type {[string, string][]} */
  const found = [];
  const trimmed = text.trim();
  while (one.lastIndex < trimmed.length) {
    const match = one.exec(trimmed);
    if (match === null) return null;
    found.push([match[1], match[2] ?? match[3]]);
  }
  return Object.fromEntries(found);
}

/** @param {string} name @param {string} value @returns {string} As `readTags` reads it. */
export const writeTag = (name, value) => `${name}=${/[\s",]/.test(value) || value === "" ? `"${value}"` : value}`;
