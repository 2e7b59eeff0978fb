// Reads a stream with the client of Durable Streams: node durable_streams.mjs URL CUT_URL LOSSY_URL JOB…. Prints what came, as JSON.
const [url, cutUrl, lossyUrl, job, gone, live] = process.argv.slice(2);
const packages = new URL("../../node/node_modules/", import.meta.url);
const { stream } = await import(new URL("@durable-streams/client/dist/index.js", packages));

const at = (base, id) => `${base}/v1/streams/${id}`;
const seqs = (items) => items.map((item) => item.seq);
const quick = { initialDelay: 1, maxDelay: 5, multiplier: 1 };

// Everything that is there, and once more from an offset.
const all = await stream({ url: at(url, job), offset: "-1", live: false });
const items = await all.json();
const rest = await stream({ url: at(url, job), offset: "0000000000000007", live: false });
const found = {
  all: items,
  closed: all.streamClosed,
  offset: all.offset,
  rest: seqs(await rest.json()),
  now: seqs(await (await stream({ url: at(url, job), offset: "now", live: false })).json()),
};

// A gap is told by a status, which is not tried again.
found.gap = await stream({ url: at(lossyUrl, gone), offset: "0000000000000002", live: false }).then(
  () => null,
  (error) => ({ status: error.status, code: JSON.parse(error.text).code, offset: error.headers["stream-next-offset"] }),
);
found.behind = await (await stream({ url: at(lossyUrl, gone), offset: found.gap.offset, live: false })).json();

// A live job over a network that cuts, in each way of reading on. What breaks off is resumed behind the last message.
async function followed(base, id, live) {
  const got = [];
  let breaks = 0;
  for (;;) {
    const offset = got.length ? String(got.at(-1)).padStart(16, "0") : "-1";
    try {
      const response = await stream({ url: at(base, id), offset, live, backoffOptions: quick });
      response.closed.catch(() => {});
      for await (const item of response.jsonStream()) got.push(item.seq);
      if (response.streamClosed) return { seqs: got, breaks };
    } catch (error) {
      if (error.status) throw error;
    }
    breaks += 1;
  }
}
found.followed = await Promise.all(["long-poll", "sse", true].map((mode) => followed(cutUrl, live, mode)));
console.log(JSON.stringify(found));
process.exit(0);
