/**
 * The live page: a connection, and the parts that show its data.
 *
 * @module page
 */

import { BulkDialog } from "./bulk.js";
import { CancelDialog } from "./cancel.js";
import { SubmitDialog } from "./form.js";
import { JobView } from "./job.js";
import { Lists } from "./list.js";
import { Overview } from "./overview.js";
import { Pauses } from "./pause.js";
import { Schedules } from "./schedules.js";
import { element, say, sayOrHide } from "./text.js";
import { connect } from "./trio_jobs.js";

const TOKEN = "trio-jobs token"; // in the tab's own storage, which ends with the tab
const here = new URL(".", document.baseURI);

const lists = new Lists();
const view = new JobView((name, value) => lists.filter.addTag(name, value));
function submitted(job) {
  open(job.id);
  lists.refresh();
}
const submitting = new SubmitDialog(submitted);
const schedules = new Schedules(submitted);
const cancelling = new CancelDialog();
const bulk = new BulkDialog(lists.filter);
const overview = new Overview(lists.filter);
const pauses = new Pauses(() => view.job?.handler);
lists.onrefresh = () => pauses.refresh();
/** @type {?import("./trio_jobs.js").Jobs} */
let jobs = null;

function start() {
  jobs?.close();
  try {
    jobs = connect(here, { token: sessionStorage.getItem(TOKEN) ?? undefined, onstate: shown });
  } catch (error) {
    askForToken(error.message);
    return;
  }
  for (const part of [pauses, lists, view, submitting, cancelling, bulk, schedules, overview]) part.use(jobs);
  allow(jobs);
  route();
}

/** Show the buttons that change something to those only who may. */
async function allow(asked) {
  const { may = "change" } = await asked.askHandlers().catch(() => ({ may: "read" }));
  if (asked === jobs) document.body.dataset.may = may;
}

// ------------------------------------------------------------ the connection

function shown(state, { delay = 0 }) {
  const node = element("connection");
  node.dataset.state = state;
  if (state === "open") say(node, "Connected");
  if (state !== "waiting") return;
  say(node, "Reconnecting…");
  node.title = `The next try is in ${Math.ceil(delay)} s. What is shown may be out of date until then.`;
  checkToken();
}

/** A browser does not report why a WebSocket was refused, so find out by another request. */
async function checkToken() {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const answer = await fetch(new URL("v1/handlers", here), { headers }).catch(() => null);
  if (answer?.status === 401) askForToken(token === null ? "" : "The server does not know this token, or not any more.");
}

function askForToken(problem) {
  jobs?.close();
  say(element("connection"), "Not signed in");
  sayOrHide(element("token-error"), problem);
  const dialog = element("token-dialog");
  dialog.returnValue = "";
  if (!dialog.open) dialog.showModal();
}

element("token-dialog").addEventListener("close", ({ target }) => {
  // Without a token there is no page to return to; but Escape closes dialogs, which cannot be prevented.
  if (!target.returnValue) return target.showModal();
  sessionStorage.setItem(TOKEN, element("token").value.trim());
  element("token").value = "";
  start();
});

// ------------------------------------------------------------ which job

const selected = () => new URLSearchParams(location.hash.slice(1)).get("job") ?? "";

function open(id) {
  location.hash = `job=${encodeURIComponent(id)}`;
}

async function route() {
  const id = selected();
  document.body.dataset.view = id || location.hash === "#overview" ? "job" : "jobs";
  lists.select(id);
  view.show(id);
  overview.show(!id);
}

function close() {
  history.pushState(null, "", location.pathname + location.search);
  route();
  lists.focus();
}

window.addEventListener("hashchange", () => {
  route();
  // On a phone the list is hidden, and the focus was in it.
  if (selected() && element("jobs").offsetParent === null) element("back").focus();
});
element("back").addEventListener("click", (event) => {
  event.preventDefault();
  close();
});
document.addEventListener("keydown", (event) => {
  const inField = event.target instanceof Element && event.target.matches("input, select, textarea");
  if (event.key === "Escape" && !document.querySelector("dialog[open]") && !inField && selected()) close();
});

element("new-job").addEventListener("click", () => submitting.open());
element("cancel-job").addEventListener("click", () => view.job && cancelling.open(view.job));
element("again-job").addEventListener("click", () => view.job && submitting.open(view.job));
element("cancel-dialog").addEventListener("close", () => element("cancel-job").hidden && element("job-handler").focus());

start();
