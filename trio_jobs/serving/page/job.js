/**
 * The selected job: its snapshot, and its log, live.
 *
 * @module job
 */

import { Attempts } from "./attempts.js";
import { InputBox } from "./inputs.js";
import { copy, Output, PAGE } from "./output.js";
import { Related } from "./related.js";
import { Timeline } from "./timeline.js";
import { between, brief, bytes, count, duration, element, full, make, moment, say, sayOrHide, writeTag } from "./text.js";

const LIFECYCLE = new Set(["started", "retried", "cancel_requested", "completed", "failed", "cancelled", "expired"]);
const BRIEFLY = { whole: false }; // megabytes are loaded on demand
const OVER = new Set(["completed", "failed", "cancelled"]);

/** Wait for the next frame that the browser paints; a hidden page has none. */
const painted = () => new Promise((resolve) => requestAnimationFrame(resolve));

/** The right-hand side of the page. */
export class JobView {
  /** @type {any} The last snapshot. */
  job = null;
  #jobs = null;
  #follow = null;
  #shown = 0; // the number of the shown job: answers for an earlier one are dropped
  #output = new Output();
  #inputs = new InputBox();
  #attempts = new Attempts();
  #related = new Related();
  #timeline = new Timeline();
  #addTag;

  /** @param {(name: string, value: string) => void} addTag Called for a click on a tag. */
  constructor(addTag) {
    this.#addTag = addTag;
    setInterval(() => document.visibilityState === "visible" && this.#time(), 1000);
  }

  /** @param {import("./trio_jobs.js").Jobs} jobs The connection to use from now on. */
  use(jobs) {
    this.#jobs = jobs;
    this.#inputs.use(jobs);
  }

  /** Show a job; without an id, none. @param {string} id */
  async show(id) {
    const shown = ++this.#shown;
    this.#follow?.return();
    this.#output.leave();
    this.#follow = null;
    this.job = null;
    if (!id) this.#nothing("");
    if (!id || this.#jobs === null) return;
    try {
      const [job, history] = await Promise.all([this.#jobs.get(id, BRIEFLY), this.#jobs.history(id, BRIEFLY)]);
      if (shown !== this.#shown) return;
      const after = Math.max(0, job.last_seq - PAGE);
      this.#output.show(this.#jobs, job, after);
      this.#timeline.clear();
      this.#timeline.add(history.map(sized));
      this.#attempts.clear(this.#jobs, id);
      this.#attempts.add(history.map(sized));
      this.#progress(null);
      this.#render(job);
      if (history.some((event) => event.kind === "inputs_ended")) this.#inputs.end();
      await this.#read((this.#follow = this.#jobs.follow(id, { after, ...BRIEFLY })), shown);
    } catch (error) {
      if (shown === this.#shown) this.#problem(error, id);
    }
  }

  async #read(follow, shown) {
    for (;;) {
      const events = (await follow.take()).map(sized);
      await painted();
      if (shown !== this.#shown || events.length === 0) return;
      this.#output.add(events);
      this.#timeline.add(events);
      this.#attempts.add(events);
      for (const event of events) {
        if (event.kind === "progress") this.#progress(event.data);
        if (event.kind === "started") this.#progress(null);
        if (event.kind === "inputs_ended") this.#inputs.end();
      }
      if (events.some((event) => LIFECYCLE.has(event.kind))) this.#refresh(shown);
    }
  }

  async #refresh(shown) {
    try {
      const job = await this.#jobs.get(this.job.id, BRIEFLY);
      if (shown === this.#shown && job.last_seq >= this.job.last_seq) this.#render(job);
    } catch (error) {
      if (shown === this.#shown) this.#problem(error, "");
    }
  }

  #nothing(problem) {
    element("job-view").hidden = true;
    element("no-job").hidden = Boolean(problem);
    sayOrHide(element("job-problem"), problem);
    document.title = "trio_jobs";
  }

  #problem(error, id) {
    if (error.name === "Closed") return;
    this.job = null;
    const gone = ["unknown_job", "bad_request"].includes(error.code);
    this.#nothing(gone ? `There is no job ${id.slice(0, 64)} here, or it is not yours, or it was removed.` : error.message);
  }

  #render(job) {
    this.job = job;
    const over = OVER.has(job.state);
    element("no-job").hidden = element("job-problem").hidden = true;
    element("job-view").hidden = false;
    say(element("job-handler"), job.handler);
    const state = element("job-state");
    if (state.firstElementChild === null) state.append(make("span", "word"), make("span", "time"));
    element("job-view").dataset.state = job.state;
    say(state.firstElementChild, job.state);
    const hadFocus = document.activeElement === element("cancel-job");
    element("cancel-job").hidden = over;
    element("again-job").hidden = !over;
    if (over && hadFocus) element("job-handler").focus(); // a removed element cannot keep the focus
    element("job-silent").textContent = over ? "It streamed nothing." : "Nothing yet.";
    sayOrHide(element("job-note"), note(job));
    this.#inputs.show(job);
    this.#outcome(job);
    this.#facts(job);
    this.#related.show(this.#jobs, job);
    this.#time();
    document.title = `${job.handler} ${job.state} – trio_jobs`;
  }

  #outcome(job) {
    const { error } = job;
    const failed = error !== null || job.state === "failed";
    element("job-error").hidden = !failed;
    if (failed) {
      say(element("job-error-title"), job.state === "failed" ? "Error" : "Error of the last attempt");
      say(element("job-error-text"), error ? full(`${error.type}: ${error.message}`) : (job.message ?? job.reason));
      element("job-traceback").hidden = !error?.traceback;
      say(element("job-traceback").querySelector("pre"), full(error?.traceback ?? ""));
    }
    const result = element("job-result");
    result.hidden = job.state !== "completed" || job.result === null;
    const large = !result.hidden && "result" in (job.large ?? {});
    result.querySelector("pre").hidden = large;
    const before = result.querySelector(".large");
    if (!large || before?.dataset.job !== job.id) before?.remove();
    if (large && !before?.isConnected) result.append(this.#large(job, "result")); // else it is shown or being loaded
    if (!large) say(result.querySelector("pre"), result.hidden ? "" : full(job.result));
    if (job.state === "completed") this.#progress(null);
  }

  #progress(progress) {
    const bar = element("job-progress").firstElementChild;
    element("job-progress").hidden = progress === null;
    if (progress === null) return;
    const { done, total, message } = progress;
    if (total) {
      bar.max = total;
      bar.value = done;
    } else {
      bar.removeAttribute("value");
    }
    const far = total ? `${Math.floor((100 * done) / total)} %, ${count(done)} of ${count(total)}` : count(done);
    say(element("job-progress-text"), message ? `${far}: ${message}` : far);
  }

  /** Show how long it runs, or ran; screen readers do not read it. */
  #time() {
    const time = element("job-state").lastElementChild;
    if (this.job === null || time === null) return;
    const { state, created_at, started_at, finished_at } = this.job;
    const now = new Date().toISOString();
    time.setAttribute("aria-hidden", "true");
    if (state === "running") say(time, between(started_at, now));
    else if (finished_at !== null) say(time, `in ${between(started_at ?? created_at, finished_at)}`);
    else say(time, `for ${between(created_at, now)}`);
  }

  #facts(job) {
    const limits = Object.entries(job.timeouts).filter(([, seconds]) => seconds !== null);
    const tags = Object.entries(job.tags).map(([name, value]) => this.#tag(name, value));
    const facts = [
      ["Id", [copied(job.id)]],
      ["Arguments", ("args" in (job.large ?? {}) || job.args?.length > 0) && [this.#value(job, "args")]],
      ["Keyword arguments", ("kwargs" in (job.large ?? {}) || Object.keys(job.kwargs ?? {}).length > 0) && [this.#value(job, "kwargs")]],
      ["Tags", tags.length ? tags : null],
      ["Attempt", job.attempt > 0 && `${job.attempt}${job.retry.attempts > 1 ? ` of ${job.retry.attempts}` : ""}`],
      ["Priority", job.priority],
      ["Timeouts", limits.map(([name, seconds]) => `${name.replace("_", " ")} ${duration(seconds)}`).join(", ")],
      ["Owner", job.owner],
      ["Key", job.key],
      ["Parent", job.parent && [link(job.parent)]],
      ["Submitted again from", job.resubmitted_from && [link(job.resubmitted_from)]],
      ["Exclusive", job.exclusive],
      ["Behind", job.behind && [link(job.behind)]],
      ["Replaced by", job.replaced_by && [link(job.replaced_by)]],
      ["Limit key", job.limit_key],
      ["Saved", job.saved !== null && [this.#value(job, "saved")]],
      ["Metadata", Object.keys(job.metadata ?? { large: true }).length > 0 && [this.#value(job, "metadata")]],
      ["Submitted", moment(job.created_at)],
      ["Started", job.started_at && moment(job.started_at)],
      ["Ended", job.finished_at && moment(job.finished_at)],
    ];
    const shown = facts.filter(([, value]) => value);
    element("job-facts").replaceChildren(
      ...shown.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", ...[value].flat())]),
    );
  }

  #value(job, name) {
    if (name in (job.large ?? {})) return this.#large(job, name);
    const short = brief(job[name], 80);
    return make("pre", "", short.length <= 80 ? short : full(job[name]));
  }

  /** Make a button that loads a large value. */
  #large(job, name) {
    const button = make("button", "", `Show ${bytes(job.large[name])}`);
    button.type = "button";
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        button.replaceWith(make("pre", "", full(await this.#jobs.value(job, name))));
      } catch (error) {
        button.replaceWith(error.message);
      }
    });
    const shown = make("div", "large", button);
    shown.dataset.job = job.id;
    return shown;
  }

  #tag(name, value) {
    const tag = make("button", "tag", writeTag(name, value));
    tag.type = "button";
    tag.title = "Show the jobs with this tag";
    tag.addEventListener("click", () => this.#addTag(name, value));
    return tag;
  }
}

/** Return an event as it is shown: with the size of data that was left out. */
const sized = (event) => (event.large === undefined ? event : { ...event, data: `(${bytes(event.large)})` });

/** Make a button that copies its own text. */
function copied(text) {
  const button = make("button", "tag", text);
  button.type = "button";
  button.title = "Copy";
  button.addEventListener("click", () => copy(button, text));
  return button;
}

function link(id) {
  const made = make("a", "", id);
  made.href = `#job=${encodeURIComponent(id)}`;
  return made;
}

/** Return the details of its state. */
function note({ state, message, reason, next_attempt_at, cancel_requested_at, waiting_for }) {
  if (state === "retrying" && reason === "awaiting_input") {
    const until = next_attempt_at === null ? "" : `, or until ${moment(next_attempt_at)}`;
    return `It waits for an input${until}${message ? `: ${message}` : "."}`;
  }
  if (state === "cancelled") return message ? `Cancelled: ${message}` : "";
  if (state === "running" && cancel_requested_at !== null) return "Its cancellation was asked for; it is stopping.";
  const due = next_attempt_at !== null && Date.parse(next_attempt_at) > Date.now();
  if (state === "retrying") return due ? `The next attempt is due at ${moment(next_attempt_at)}.` : waits(waiting_for);
  if (state === "queued") return due ? `It is due at ${moment(next_attempt_at)}.` : waits(waiting_for);
  return state === "failed" && message && reason !== "error" ? message : "";
}

function waits(waitingFor) {
  const [word, name, ...key] = (waitingFor ?? "worker").split(" ");
  if (word === "behind") return "It starts when another job has ended.";
  if (word === "limit") return `It waits for a place under the limit ${name}${key.length ? ` of ${key.join(" ")}` : ""}.`;
  return word === "paused" ? "Its handler is paused." : `It waits for a ${word === "slot" ? "free slot" : "worker"}.`;
}
