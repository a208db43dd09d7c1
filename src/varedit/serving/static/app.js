// The page: opens photographs, sends edits to the server that it came from, and shows what comes back. It uses only
// the public API. All state is one tree of versions in memory; nothing is stored, and nothing is sent before Run.

import { Refusal, bytesOf, edit, modelName } from "./api.js";
import * as brush from "./brush.js";
import { asCommand, asPython, fileName, readProvenance } from "./provenance.js";
import * as settings from "./settings.js";
import * as stage from "./stage.js";
import { drawTree, wordsOf } from "./tree.js";
import { Versions } from "./versions.js";

const at = (id) => document.getElementById(id);
const PREVIEWS = 3;
const LOADING_PAUSE = 2000; // milliseconds between questions whether the model has loaded
const EXAMPLES = ["Make it black and white", "A lot warmer", "Slightly brighter", "More contrast", "Sepia", "Cooler",
  "Less saturation", "Make it darker"]; // what the embedded model can do

let versions = null; // of the present photograph
let running = null; // the AbortController of the edit under way
let model = ""; // its name
let written = ""; // what the page itself put into the instruction box

// ---- photographs ----

async function open(file) {
  settings.clearErrors();
  if (!file) return;
  const made = await readProvenance(file);
  if (made && versions) {
    reuse(made);
    notify(`The settings of ${file.name} are in place. Run repeats them on this picture.`,
      "Open that picture instead", () => begin(file));
  } else if (await begin(file) && made) {
    reuse(made);
    notify("This picture was made here before. Its instruction and settings are in place.");
  }
}

async function begin(file) {
  const picture = await stage.opened(file);
  if (!picture) {
    settings.showError("This browser cannot show that file. Choose a PNG, JPEG or WebP picture.", "image");
    return false;
  }
  running?.abort();
  const old = versions;
  versions = new Versions({ ...picture, blob: file, name: file.name || "picture.png", instruction: "",
    thumbnail: await stage.thumbnail(picture.url) });
  brush.prepare(picture.width, picture.height, tellMask);
  for (const [id, hidden] of [["empty", true], ["work", false]]) at(id).hidden = hidden;
  at("status").textContent = `${picture.width} × ${picture.height} pixels`;
  await show();
  if (old?.root.children.length) notify("A new picture is open.", "Back to the one before", () => back(old));
  else if (old) forget(old.all());
  if (matchMedia("(pointer: fine)").matches) at("prompt").focus();
  return true;
}

function back(old) {
  forget(versions.all());
  versions = old;
  brush.prepare(old.root.width, old.root.height, tellMask);
  show();
}

function forget(dropped) { for (const version of dropped) URL.revokeObjectURL(version.url); }

function reuse(made) {
  write(made.instruction);
  settings.restore(made);
}

function write(text) { at("prompt").value = written = text; }

// ---- edits ----

// Edit a version. `again` is an earlier edit to be drawn anew; without it the controls say what to do.
async function run(parent, again = null) {
  settings.clearErrors();
  closeNotice();
  const prompt = again ? again.instruction : at("prompt").value.trim();
  if (!prompt) return settings.showError("Say what should change.", "prompt");
  const values = again ? { ...again.settings, seed: "", n: "1" } : { ...settings.chosen(), mask: await brush.mask() };
  // With its codes, a version needs no pixels of its own: it is drawn from them and restored from the photograph.
  const image = parent.codes ? versions.root.blob : parent.blob;
  const codes = parent.codes && new Blob([parent.codes]); // a file: texts of a form may be short only
  const call = { ...values, prompt, image, codes, stream: "true", partial_images: PREVIEWS };
  const made = [], tree = versions, control = new AbortController();
  running = control;
  written = at("prompt").value;
  setBusy(true, Number(values.n), parent);
  try {
    for await (const event of edit(call, { signal: control.signal, key: at("key").value })) {
      if (event.type === "image_edit.partial_image") await showPreview(event);
      if (event.type === "image_edit.completed") made.push(await result(event, tree, parent, prompt, values));
    }
    tellProgress(1, `Done in ${(made[0].timings.total / 1000).toFixed(1)} seconds`);
    at("announce").textContent = `Done. ${prompt}.`;
  } catch (error) {
    if (error.name === "AbortError") at("announce").textContent = at("status").textContent = "Stopped";
    else if (error instanceof Refusal) refused(error);
    else throw error;
  } finally {
    if (running === control) running = null;
    if (!running) setBusy(false);
  }
  if (tree === versions) await arrive(made, parent);
}

async function result(event, tree, parent, prompt, values) {
  const blob = bytesOf(event.b64_json, `image/${event.output_format}`), url = URL.createObjectURL(blob);
  settings.showSeed(event.seed);
  return tree.add(parent, { blob, url, thumbnail: await stage.thumbnail(url), instruction: prompt, seed: event.seed,
    settings: values, codes: event.codes ?? null, timings: event.timings_ms, notes: event.notes ?? [] });
}

// Show what an edit made: its result, or its variants to choose from.
async function arrive(made, parent) {
  versions.choose(made[0] ?? parent);
  forget(versions.trim());
  await show();
  if (made.length > 1) showVariants(made);
  else if (made.length) stage.sweep();
  if (made[0]?.notes.length) notify(made[0].notes.join(" "));
  if (made.length && document.activeElement === at("prompt")) at("prompt").select();
}

async function showPreview(event) {
  const url = `data:image/${event.output_format};base64,${event.b64_json}`;
  const cell = at("variants").querySelectorAll("img")[event.image_index];
  await stage.draw(at("variants").hidden ? at("after") : cell, url);
  tellProgress(event.scale / event.scales, `Scale ${event.scale} of ${event.scales}`);
}

function tellProgress(share, words) {
  if (share >= 0.5 && at("progress").value < 0.5 && share < 1) at("announce").textContent = "Half done";
  at("progress").value = share;
  at("status").textContent = words;
}

function refused(error) {
  at("status").textContent = "";
  if (error.status === 401) at("key-row").hidden = false;
  settings.showError(error.message, error.status === 401 ? "key" : error.param);
}

function setBusy(isBusy, count = 1, parent = null) {
  at("run").hidden = isBusy;
  at("stop").hidden = !isBusy;
  at("progress").hidden = !isBusy;
  for (const id of ["tools", "versions", "brush-bar", "compare"]) at(id).inert = isBusy;
  at("frame").classList.toggle("busy", isBusy);
  at("variants").hidden = true;
  if (!isBusy) return;
  at("progress").value = 0;
  at("status").textContent = at("announce").textContent = "The server has been asked";
  setBrush(false);
  hideRegion();
  stage.compareWith(null);
  if (count > 1) fillVariants(Array.from({ length: count }, () => parent));
  else stage.draw(at("after"), parent.url);
}

// ---- variants ----

function showVariants(made) {
  fillVariants(made).forEach((button, place) => button.addEventListener("click", () => {
    at("variants").hidden = true;
    at("frame").hidden = false;
    versions.choose(made[place]);
    show();
  }));
  at("variants").querySelector("button").focus();
}

function fillVariants(shown) {
  const buttons = shown.map((version, place) => {
    const button = document.createElement("button");
    button.type = "button";
    const image = button.appendChild(document.createElement("img"));
    image.src = version.url;
    image.alt = `Variant ${place + 1} of ${shown.length}`;
    return button;
  });
  at("variants").replaceChildren(...buttons);
  at("variants").hidden = false;
  at("frame").hidden = true;
  return buttons;
}

// ---- what is shown ----

async function show() {
  const { current, root } = versions, photo = root.name;
  drawTree(versions, (version) => { versions.choose(version); show(); });
  at("variants").hidden = true;
  at("undo").disabled = !current.parent;
  at("redo").disabled = !current.next;
  for (const id of ["again", "show-repeat", "show-region"]) at(id).disabled = !current.parent;
  at("compare").hidden = !current.parent || current.parent === root;
  at("download").href = current.url;
  at("download").download = fileName(photo, current);
  at("prompt-label").textContent = current.parent ? `What should change in version ${current.id}?` : "What should change?";
  const isRegionOn = isPressed("show-region");
  hideRegion();
  await stage.show(current.url, wordsOf(current), root.width, root.height);
  if (current !== versions.current) return;
  await stage.compareWith(current.parent && !isPressed("show-brush") ? older().url : null);
  if (isRegionOn && current.parent) await showRegion();
}

// What the present version is compared with.
function older() { return at("against").value === "parent" ? versions.current.parent : versions.root; }

async function showRegion() {
  press("show-region", true);
  const share = await stage.showRegion(older().url, versions.current.url);
  at("region-told").textContent = share ? `${percent(share)} of the picture changed.` : "Nothing changed.";
}

function hideRegion() {
  press("show-region", false);
  stage.hideRegion();
  at("region-told").textContent = "";
}

function setBrush(isOn) {
  press("show-brush", isOn);
  at("brush").classList.toggle("resting", !isOn);
  at("brush-bar").hidden = !isOn;
  at("brush").hidden = !isOn && !brush.share();
}

function tellMask() {
  const share = brush.share();
  at("brush-told").textContent = share ? `${percent(share)} is painted; the rest will stay as it is.` : "Nothing is painted.";
  at("brush").hidden = !share && !isPressed("show-brush");
}

function percent(share) { return share < 0.005 ? "Less than 1 %" : `${Math.round(100 * share)} %`; }

function isPressed(id) { return at(id).getAttribute("aria-pressed") === "true"; }

function press(id, isPressedNow) { at(id).setAttribute("aria-pressed", isPressedNow); }

function notify(text, action = null, act = null) {
  at("notice").hidden = false;
  at("notice-text").textContent = text;
  at("notice-act").hidden = !action;
  at("notice-act").textContent = action ?? "";
  at("notice-act").onclick = () => { closeNotice(); act(); };
}

function closeNotice() { at("notice").hidden = true; }

// ---- controls ----

for (const id of ["file", "camera", "first-file", "first-camera"]) {
  at(id).addEventListener("change", (event) => { open(event.target.files[0]); event.target.value = ""; });
}
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) { event.preventDefault(); open(file); }
});
document.addEventListener("dragover", (event) => { event.preventDefault(); at("dropping").hidden = false; });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("dropping").hidden = true; });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("dropping").hidden = true;
  if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  else settings.showError("Drop a picture file; addresses of pictures are not fetched.", "image");
});

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) return;
  if (versions) run(versions.current);
  else settings.showError("Choose a picture first.", "image");
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("ask").requestSubmit();
});
at("stop").addEventListener("click", () => { running?.abort(); at("run").hidden = false; at("run").focus(); });
at("undo").addEventListener("click", () => { versions.undo(); show(); });
at("redo").addEventListener("click", () => { versions.redo(); show(); });
at("again").addEventListener("click", () => run(versions.current.parent, versions.current));
at("show-region").addEventListener("click", () => { if (isPressed("show-region")) hideRegion(); else showRegion(); });
at("show-brush").addEventListener("click", async () => {
  setBrush(!isPressed("show-brush"));
  await show();
  if (isPressed("show-brush")) at("brush").focus({ preventScroll: true });
});
at("brush-clear").addEventListener("click", brush.clear);
at("against").addEventListener("change", show);
at("show-settings").addEventListener("click", () => settings.open(at("settings").hidden));
at("dice").addEventListener("click", settings.throwDice);
at("notice-close").addEventListener("click", closeNotice);
at("show-repeat").addEventListener("click", () => {
  const edits = versions.edits(), name = versions.root.name;
  at("as-command").textContent = asCommand(name, edits, model);
  at("as-python").textContent = asPython(name, edits, model);
  const painted = edits.findLast((one) => one.settings.mask);
  at("mask-file").hidden = !painted;
  URL.revokeObjectURL(at("mask-file").href);
  if (painted) at("mask-file").href = URL.createObjectURL(painted.settings.mask);
  at("copied").textContent = "";
  at("repeat").showModal();
});
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button.dataset.copy));

async function copy(id) {
  try {
    await navigator.clipboard.writeText(at(id).textContent);
    at("copied").textContent = "Copied.";
  } catch { // not allowed, or the page did not come over a safe connection
    getSelection().selectAllChildren(at(id));
    at("copied").textContent = "It is selected; press Ctrl+C.";
  }
}

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase(), isRedo = key === "y" || (key === "z" && event.shiftKey);
  if (!(event.ctrlKey || event.metaKey) || event.altKey || !(key === "z" || key === "y")) return;
  if (!versions || running || isTyping(event.target) || at("repeat").open) return;
  event.preventDefault();
  if (!isRedo && isPressed("show-brush") && brush.takeBack()) return;
  if (isRedo) versions.redo(); else versions.undo();
  show();
});

// Whether a key belongs to a text that someone is changing, which has an undo of its own.
function isTyping(target) {
  return target.matches("input:not([type=range], [type=checkbox])") || (target === at("prompt") && target.value !== written);
}

addEventListener("beforeunload", (event) => { if (versions?.root.children.length) event.preventDefault(); });

for (const words of EXAMPLES) {
  const button = at("examples").appendChild(document.createElement("button"));
  button.type = "button";
  button.textContent = words;
  button.addEventListener("click", () => {
    write(words);
    if (matchMedia("(pointer: fine)").matches) at("prompt").focus();
  });
}

async function greet() {
  try {
    model = await modelName(at("key").value);
    at("model").textContent = `model ${model}`;
    closeNotice();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.status === 401) at("key-row").hidden = false;
    else notify(error.message);
    if (error.status === 503) setTimeout(greet, LOADING_PAUSE);
  }
}
at("key").addEventListener("change", greet);
greet();
