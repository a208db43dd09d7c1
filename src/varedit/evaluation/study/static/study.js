// A rater's page. The server sends all trials at the start; each answer goes to it at once, and "Next pair" opens only
// when the server has said that it is stored. Whatever fails is tried again until it works.

const KEYS = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right",
  3: "both good", ArrowUp: "both good", 4: "both bad", ArrowDown: "both bad" };
const PAUSE = 500, LONGEST_PAUSE = 5000; // milliseconds between tries
const SILENCE = 15000; // milliseconds until a call counts as failed
const at = (id) => document.getElementById(id);

let session = null; // what the server sent: code, questions, choices, trials
let place = 0; // the trial that is shown; as many as there are trials is the end
let shownSince = null; // when its pictures were there; null before
const unsent = []; // answers that the server has not stored yet, the oldest first

at("code").value = recalledCode();
at("arrival").addEventListener("submit", (event) => { event.preventDefault(); start(); });
at("back").addEventListener("click", () => show(place - 1));
at("next").addEventListener("click", () => show(place + 1));
at("review").addEventListener("click", () => show(session.trials.length - 1));
at("compare").addEventListener("click", () => enlarge("left"));
at("close").addEventListener("click", () => at("large").close());
for (const button of document.querySelectorAll("[data-side]")) {
  button.addEventListener("click", () => enlarge(button.dataset.side));
}
document.addEventListener("keydown", onKey);
window.addEventListener("beforeunload", (event) => { if (unsent.length) event.preventDefault(); });

async function start() {
  const button = at("arrival").querySelector("button");
  button.disabled = true;
  const reply = await stubborn("api/session", { code: at("code").value.trim() });
  button.disabled = false;
  if (reply.error) { at("trouble").textContent = reply.error; return; }
  session = reply;
  rememberCode(session.code);
  at("own-code").textContent = session.code;
  at("start").hidden = true;
  buildQuestions();
  const open = session.trials.findIndex((trial) => !isAnswered(trial));
  show(open < 0 ? session.trials.length : open);
}

function buildQuestions() {
  for (const [question, words] of Object.entries(session.questions)) {
    const group = document.createElement("div");
    group.setAttribute("role", "group");
    group.setAttribute("aria-labelledby", `asked-${question}`);
    group.dataset.question = question;
    const asked = group.appendChild(document.createElement("p"));
    asked.id = `asked-${question}`;
    asked.textContent = words;
    const row = group.appendChild(document.createElement("div"));
    row.className = "choices";
    for (const [choice, label] of Object.entries(session.choices)) {
      const button = row.appendChild(document.createElement("button"));
      button.textContent = label;
      button.dataset.choice = choice;
      button.addEventListener("click", () => answer(question, choice));
    }
    at("questions").append(group);
  }
}

function show(number) {
  place = number;
  const trial = session.trials[place], isEnd = !trial;
  at("trial").hidden = isEnd;
  at("end").hidden = !isEnd;
  at("status").textContent = "";
  at("trouble").textContent = "";
  if (isEnd) { at("end").querySelector("h1").focus(); return; }
  at("where").textContent = `Pair ${place + 1} of ${session.trials.length}`;
  at("progress").max = session.trials.length;
  at("progress").value = place;
  at("instruction").textContent = trial.instruction;
  at("back").disabled = place === 0;
  showPictures(trial);
  showAnswers();
  at("instruction").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

async function showPictures(trial) {
  shownSince = null;
  const images = ["source", "left", "right"].map((side) => at(side));
  for (const image of images) image.src = pictureAddress(trial[image.id]);
  try {
    await Promise.all(images.map((image) => image.decode()));
  } catch {
    if (trial === session.trials[place]) at("trouble").textContent = "A picture does not load. Load this page again.";
    return;
  }
  if (trial !== session.trials[place]) return;
  shownSince = performance.now();
  showAnswers();
  const following = session.trials[place + 1];
  if (following) for (const side of ["source", "left", "right"]) new Image().src = pictureAddress(following[side]);
}

function showAnswers() {
  const trial = session.trials[place], current = currentQuestion(trial);
  for (const group of at("questions").children) {
    group.classList.toggle("current", group.dataset.question === current);
    for (const button of group.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(trial.answers[group.dataset.question] === button.dataset.choice));
      button.disabled = shownSince === null; // nobody compares what is not there yet
    }
  }
  at("next").disabled = !isAnswered(trial) || unsent.length > 0;
}

function answer(question, choice) {
  const trial = session.trials[place];
  if (!trial || shownSince === null || trial.answers[question] === choice) return;
  trial.answers[question] = choice;
  const seconds = (performance.now() - shownSince) / 1000;
  unsent.push({ code: session.code, trial: place, question, choice, seconds });
  at("status").textContent = "Storing";
  if (unsent.length === 1) send();
  showAnswers();
}

async function send() {
  while (unsent.length) {
    const reply = await stubborn("api/answers", unsent[0]);
    if (reply.error) { at("trouble").textContent = reply.error; return; }
    unsent.shift();
  }
  at("status").textContent = "Stored";
  showAnswers();
  if (!at("next").disabled && !at("large").open) at("next").focus({ preventScroll: true });
}

async function stubborn(address, values) {
  // The reply of a POST, tried again as long as the server is away or cannot store; {error} where it refuses.
  for (let pause = PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    try {
      const response = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify(values), signal: AbortSignal.timeout(SILENCE) });
      if (response.status < 500) {
        const reply = await response.json();
        at("trouble").textContent = "";
        return response.ok ? reply : { error: reply.error ?? "The server does not understand this page. Load it again." };
      }
    } catch { /* away, or silent: told below, and tried again */ }
    at("trouble").textContent = "The server does not answer. Trying again; please keep this page open.";
    await new Promise((done) => setTimeout(done, pause));
  }
}

function onKey(event) {
  if (!session || event.ctrlKey || event.metaKey || event.altKey) return;
  if (at("large").open) { onLargeKey(event); return; }
  if (at("trial").hidden) return;
  const choice = KEYS[event.key], question = currentQuestion(session.trials[place]);
  if (choice && question && !event.repeat) { event.preventDefault(); answer(question, choice); }
  if (event.key.toLowerCase() === "c") { event.preventDefault(); enlarge("left"); }
}

function onLargeKey(event) {
  const side = { ArrowUp: "source", ArrowLeft: "left", ArrowRight: "right" }[event.key];
  if (side) { event.preventDefault(); enlarge(side); }
  if (event.key.toLowerCase() === "c") at("large").close();
}

function enlarge(side) {
  const large = at("large");
  at("large-picture").src = at(side).src;
  at("large-picture").alt = at(side).alt;
  for (const button of large.querySelectorAll("[data-side]")) {
    button.setAttribute("aria-pressed", String(button.dataset.side === side));
  }
  if (!large.open) large.showModal();
  large.querySelector(`[data-side="${side}"]`).focus();
}

function currentQuestion(trial) {
  return Object.keys(session.questions).find((question) => !(question in trial.answers));
}

function isAnswered(trial) { return currentQuestion(trial) === undefined; }

function pictureAddress(token) { return `pictures/${token}`; }

function recalledCode() {
  try { return localStorage.getItem("study-code") ?? ""; } catch { return ""; } // storage may be forbidden
}

function rememberCode(code) {
  try { localStorage.setItem("study-code", code); } catch { /* the page shows the code */ }
}
