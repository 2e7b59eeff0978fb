// A chat whose answers are jobs: they go on while the page is away, and stop when that is asked for.
import { Chat, useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const api = document.documentElement.dataset.api;
if (!location.hash) location.hash = crypto.randomUUID(); // two tabs with one address are one chat
const id = location.hash.slice(1);
const at = (what) => `${api}/${encodeURIComponent(id)}/${what}`;

const chat = new Chat({
  id,
  messages: JSON.parse(localStorage.getItem(id) ?? "[]"),
  transport: new DefaultChatTransport({
    api,
    // The name of the answer brings the rest of it even if its job has ended meanwhile.
    prepareReconnectToStreamRequest: () => ({ api: at(`stream?message=${chat.lastMessage.id}`) }),
  }),
  onFinish: ({ isDisconnect }) => isDisconnect && setTimeout(goOn, 1000),
});

// A message that has no answer yet is sent again, which is the same job; an answer is read on.
const goOn = () => (chat.lastMessage.role === "user" ? chat.sendMessage() : chat.resumeStream());

// Not `chat.stop()`, which only leaves.
const stop = () => fetch(at("stop"), { method: "POST" });

function Part({ part }) {
  if (part.type === "text") return <p>{part.text}</p>;
  if (part.type === "reasoning") return <p><small>{part.text}</small></p>;
  if (part.type === "data-restart") return <p><em>It begins anew ({part.data.reason}).</em></p>;
  return null;
}

function Page() {
  const { messages, status, error } = useChat({ chat });
  const [text, setText] = useState("");
  const busy = status === "submitted" || status === "streaming";
  useEffect(() => localStorage.setItem(id, JSON.stringify(messages)), [messages]);
  useEffect(() => void (chat.lastMessage && goOn()), []);
  const send = (event) => {
    event.preventDefault();
    chat.sendMessage({ text });
    setText("");
  };
  return (
    <main>
      {messages.map((one) => (
        <article key={one.id} className={one.role}>
          {one.parts.map((part, place) => <Part key={place} part={part} />)}
        </article>
      ))}
      {error && <p role="alert">{error.message} <button onClick={goOn}>Go on</button></p>}
      <form onSubmit={send}>
        <input value={text} onChange={(event) => setText(event.target.value)} autoFocus required />
        {busy ? <button type="button" onClick={stop}>Stop</button> : <button>Send</button>}
      </form>
    </main>
  );
}

createRoot(document.getElementById("page")).render(<Page />);
