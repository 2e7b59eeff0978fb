// Drives ext-tasks, the reader of tasks of MCP's TypeScript SDK: node tasks.mjs URL CUT_URL. Prints what came, as JSON.
const [url, cutUrl] = process.argv.slice(2);
const packages = new URL("../../../node/node_modules/", import.meta.url);
const { withTasks, DispatchError } = await import(new URL("@modelcontextprotocol/ext-tasks/dist/client/index.js", packages));

const VERSION = "2026-07-28";
const FRAME = {
  "io.modelcontextprotocol/protocolVersion": VERSION,
  "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
};
let requests = 0;
let failures = 0;

// One request of the protocol, as the transport of an SDK makes it. What is cut off may be tried again.
async function post(base, { method, params = {} }, { signal, context } = {}, more = {}) {
  const meta = params._meta ?? {};
  const capabilities = meta["io.modelcontextprotocol/clientCapabilities"] ?? {};
  const extensions = { ...capabilities.extensions, "io.modelcontextprotocol/tasks": {} };
  const _meta = { ...meta, ...FRAME, "io.modelcontextprotocol/clientCapabilities": { ...capabilities, extensions } };
  const name = params.name === undefined ? {} : { "mcp-name": params.name };
  const ask = async () => {
    const answer = await fetch(`${base}/mcp`, {
      method: "POST",
      signal,
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": method,
        ...name,
        ...more,
        ...context?.headers,
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: (requests += 1), method, params: { ...params, _meta } }),
    });
    return (await answer.text()).replace(/^event: message\r?\ndata: /, "");
  };
  for (;;) {
    let text;
    try {
      text = await ask();
    } catch (error) {
      if (base === url) throw new DispatchError(error.message, false);
      failures += 1;
      continue;
    }
    const { result, error } = JSON.parse(text);
    return error ? { kind: "error", error } : { kind: "result", result };
  }
}

function session(base, more = {}, options = {}) {
  const port = {
    endpointId: "test",
    taskCapabilities: { generation: "v2", capabilities: {} },
    invalidated: false,
    dispatch: (request, how) => post(base, request, how, more),
    onServerRequest: () => () => {},
    onNotification: () => () => {},
    onInvalidated: () => () => {},
  };
  return withTasks(port, options);
}

async function settled(execution) {
  const states = [];
  const onEvent = (event) => {
    const task = event.type === "task" ? event.task : event.outcome.task;
    if (task && task.status !== states.at(-1)) states.push(task.status);
  };
  const { outcome } = await execution.settle({ onEvent });
  return { kind: execution.kind, status: outcome.status, result: outcome.result, error: outcome.error?.message, states };
}

const asked = [];
const answering = {
  onInputRequest: async (request) => {
    asked.push(request.params.message);
    return { action: "accept", content: { value: true } };
  },
};
const plain = session(url, {}, answering);
const found = {
  added: await settled(await plain.callTool("add", { a: 1 })),
  deployed: await settled(await plain.callTool("deploy", { version: "1.2" })),
  broken: await settled(await plain.callTool("broken", {})),
  refused: await plain.callTool("add", {}).then(
    () => null,
    (error) => [error.code, error.message],
  ),
  asked,
};

const endless = await plain.callTool("endless", {});
await endless.cancel();
found.cancelled = await settled(endless);

// A call over a network that cuts, and its task, which another session goes on to read.
const first = await session(cutUrl, { "idempotency-key": "k1" }).callTool("write", {});
const second = await session(cutUrl, { "idempotency-key": "k1" }).callTool("write", {});
found.same = first.handle.taskId === second.handle.taskId;
found.written = await settled(await session(cutUrl).resumeTask(first.serializeReference()));
found.failures = failures;
console.log(JSON.stringify(found));
process.exit(0);
