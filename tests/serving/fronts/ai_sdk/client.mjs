// Drives the AI SDK as a page does: node client.mjs PACKAGE URL CUT_URL RUNS. Prints what came of it, as JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [name, url, cutUrl, runs] = process.argv.slice(2);
const require = createRequire(new URL("../../../node/", import.meta.url));
const ai = await import(pathToFileURL(require.resolve(name)).href);

class State {
  constructor(messages) {
    this.messages = messages;
  }
  status = "ready";
  error = undefined;
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (at, message) => (this.messages = this.messages.map((one, place) => (place === at ? message : one)));
  snapshot = structuredClone;
}

// What `useChat` is on, without React.
class Chat extends ai.AbstractChat {
  constructor({ messages = [], ...init }) {
    super({ ...init, state: new State(messages) });
  }
}

const transport = (base, more = {}) => new ai.DefaultChatTransport({ api: `${base}/api/chat`, ...more });
const user = (text, id) => ({ id, role: "user", parts: [{ type: "text", text }] });

// A message is sent over a network that cuts connections anywhere, and resumed until it has ended.
async function dropped(chatId) {
  let ended;
  let drops = 0;
  const chat = new Chat({
    id: chatId,
    transport: transport(cutUrl, {
      prepareReconnectToStreamRequest: ({ id }) => {
        const last = chat.lastMessage;
        const named = last?.role === "assistant" ? `?message=${last.id}` : "";
        return { api: `${cutUrl}/api/chat/${id}/stream${named}` };
      },
    }),
    onError: () => (drops += 1),
    onFinish: (how) => (ended = how.isError || how.isDisconnect ? undefined : how),
  });
  await chat.sendMessage({ text: "go on" });
  while (!ended) {
    // Before the first frame the client knows no message: what it sent may not have come, so it sends it again.
    if (chat.lastMessage.role === "user") await chat.sendMessage();
    else await chat.resumeStream();
  }
  return { drops, parts: chat.lastMessage.parts, messages: chat.messages.length };
}

async function collect(stream, types, onChunk = () => {}) {
  const [one, other] = stream.tee();
  const reading = (async () => {
    for await (const chunk of one) {
      types.push(chunk.type);
      onChunk(chunk);
    }
  })();
  let last;
  for await (const message of ai.readUIMessageStream({ stream: other })) last = message;
  await reading;
  return last;
}

// Two tabs read one job, one of them late; a stop ends both.
async function stopped(chatId) {
  const first = transport(url);
  const second = transport(url);
  const seen = [[], []];
  let begun;
  const started = new Promise((resolve) => (begun = resolve));
  const stream = await first.sendMessages({
    chatId,
    messages: [user("forever", "m1")],
    trigger: "submit-message",
    messageId: undefined,
    abortSignal: undefined,
  });
  const one = collect(stream, seen[0], (chunk) => chunk.type === "text-delta" && begun());
  await started;
  let joined;
  const live = new Promise((resolve) => (joined = resolve));
  const other = collect(
    await second.reconnectToStream({ chatId }),
    seen[1],
    (chunk) => chunk.type === "text-delta" && joined(),
  );
  await live;
  const answer = await (await fetch(`${url}/api/chat/${chatId}/stop`, { method: "POST" })).json();
  const messages = await Promise.all([one, other]);
  return { answer, messages, ends: seen.map((types) => types.at(-1)), rest: await second.reconnectToStream({ chatId }) };
}

// A page is left while an answer comes, and loaded anew with what its user had said.
async function reloaded(chatId) {
  const chat = new Chat({ id: chatId, transport: transport(url) });
  const sent = chat.sendMessage({ text: "go on" });
  while (chat.lastMessage?.role !== "assistant") await new Promise((resolve) => setImmediate(resolve));
  await chat.stop(); // which only leaves
  await sent;
  const next = new Chat({ id: chatId, messages: chat.messages.slice(0, 1), transport: transport(url) });
  await next.resumeStream();
  return { parts: next.lastMessage.parts, messages: next.messages.length };
}

// Two clicks send one message twice.
async function twice(chatId) {
  const sending = () =>
    transport(url).sendMessages({
      chatId,
      messages: [user("go on", "m1")],
      trigger: "submit-message",
      messageId: undefined,
      abortSignal: undefined,
    });
  const streams = await Promise.all([sending(), sending()]);
  return Promise.all(streams.map((stream) => collect(stream, [])));
}

async function failed(chatId) {
  let error;
  const chat = new Chat({ id: chatId, transport: transport(url), onError: (one) => (error = one.message) });
  await chat.sendMessage({ text: "fail" });
  return { error, status: chat.status, parts: chat.lastMessage.parts };
}

const drops = [];
for (let run = 0; run < Number(runs); run += 1) drops.push(await dropped(`dropped-${run}`));
const found = {
  drops,
  stopped: await stopped("stopped"),
  reloaded: await reloaded("reloaded"),
  twice: await twice("twice"),
  failed: await failed("failed"),
};
console.log(JSON.stringify(found));
process.exit(0);
