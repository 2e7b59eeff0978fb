// Uses the chat page of the docs as people do: node page.mjs API PAGE.js. Prints what it showed, as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [api, page] = process.argv.slice(2);
const program = readFileSync(page, "utf8");
const require = createRequire(new URL("../../../node/", import.meta.url));
const { Window } = await import(pathToFileURL(require.resolve("happy-dom")).href);

async function load(kept) {
  const window = new Window({ url: "http://127.0.0.1:3000/#chat-1" });
  window.document.documentElement.dataset.api = api;
  window.document.body.innerHTML = '<div id="page"></div>';
  if (kept) window.localStorage.setItem("chat-1", kept);
  for (const name of ["window", "document", "navigator", "location", "localStorage"])
    Object.defineProperty(globalThis, name, { value: window[name], configurable: true });
  new Function(program)();
  const until = async (found) => {
    for (;;) {
      const one = found();
      if (one) return one;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const one = (what) => window.document.querySelector(what);
  const button = (label) => [...window.document.querySelectorAll("button")].find((each) => each.textContent === label);
  return {
    kept: () => window.localStorage.getItem("chat-1"),
    until: (label) => until(() => button(label)),
    shows: (text) => until(() => one("main")?.textContent.includes(text)),
    press: (label) => button(label).click(),
    all: () => [...window.document.querySelectorAll("article")].map((each) => [each.className, each.textContent]),
    async say(text) {
      const input = await until(() => one("input"));
      Object.getOwnPropertyDescriptor(window.HTMLInputElement.prototype, "value").set.call(input, text);
      input.dispatchEvent(new window.Event("input", { bubbles: true }));
      await until(() => input.value === text);
      (await until(() => button("Send"))).click();
    },
  };
}

const first = await load();
await first.say("hello");
await first.shows("bye");
await first.until("Send");
const answered = first.all();
await first.say("forever");
await first.shows("here");
const second = await load(first.kept()); // while the answer comes
await second.until("Stop");
await second.shows("here");
second.press("Stop");
await Promise.all([first.until("Send"), second.until("Send")]);
console.log(JSON.stringify({ answered, first: first.all(), second: second.all() }));
process.exit(0);
