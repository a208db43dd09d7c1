// Calls of the server's public API, the same that any program can make. Knows nothing of the page.

// An answer that is no result: a sentence, the parameter that it is about, and the status of HTTP (0: no answer).
export class Refusal extends Error {
  constructor(message, { status = 0, param = null } = {}) {
    super(message);
    Object.assign(this, { status, param });
  }
}

// The name of the server's model. Throws Refusal.
export async function modelName(key) {
  const reply = await answered(() => fetch("v1/models", { headers: headers(key) }));
  return (await reply.json()).data[0].id;
}

// Send an edit; yields the events of the answer as objects, see docs/serving.md. Throws Refusal; AbortError if the
// signal says so. Values of `fields` that are absent or "" are left to the server.
export async function* edit(fields, { signal, key }) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if ((value ?? "") !== "") body.append(name, value);
  }
  const reply = await answered(() => fetch("v1/images/edits", { method: "POST", body, signal, headers: headers(key) }));
  let isComplete = false;
  for await (const event of events(reply.body)) {
    if (event.type === "error") throw new Refusal(sentence(event.error.message), { status: 500, param: event.error.param });
    isComplete ||= event.type === "image_edit.completed";
    yield event;
  }
  if (!isComplete) throw new Refusal("The answer broke off. Try again.");
}

export function bytesOf(base64, type) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type });
}

// JSON whose seeds stay texts: they are whole numbers of 64 bits, and those of JavaScript have 53.
export function exactJson(text) { return JSON.parse(text.replace(/("seed":\s*)(\d+)/g, '$1"$2"')); }

async function answered(call) {
  let reply;
  try {
    reply = await call();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server cannot be reached. Is it still running?");
  }
  if (reply.ok) return reply;
  const said = await reply.json().then((body) => body.error, () => null);
  let words = sentence(said?.message ?? `The server answered with status ${reply.status}.`);
  const wait = Number(reply.headers.get("retry-after"));
  if ((reply.status === 429 || reply.status === 503) && wait) words += ` Try again in ${wait} second${wait === 1 ? "" : "s"}.`;
  throw new Refusal(words, { status: reply.status, param: said?.param ?? null });
}

// The data of server-sent events: blocks of lines with an empty line between them.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal("The connection to the server broke. Try again.");
    }
    if (part.done) return;
    const blocks = (text + part.value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield exactJson(data.slice(6));
    }
  }
}

function headers(key) { return key ? { Authorization: `Bearer ${key}` } : {}; }

function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
