// The controls beside the instruction: what they say, and the sentences that stand beside them when something is wrong.

const at = (id) => document.getElementById(id);
const FIELDS = { seed: "seed", guidance_scale: "guidance", temperature: "temperature", n: "count", output_format: "format" };
const NUMBERS = ["guidance_scale", "temperature"];
const LARGEST_SEED = 2 ** 32;

// Parameters of the API by name; "" is left to the server.
export function chosen() {
  const values = Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, at(id).value.trim()]));
  return { ...values, seed: at("seed-lock").checked ? values.seed : "", metadata: String(at("metadata").checked) };
}

// Put the settings of a result into the controls.
export function restore(made) {
  for (const name of NUMBERS) at(FIELDS[name]).value = typeof made[name] === "number" ? made[name] : "";
  showSeed(made.seed);
  at("seed-lock").checked = /^\d+$/.test(made.seed);
}

export function showSeed(seed) { if (/^\d+$/.test(seed)) at("seed").value = seed; }

export function throwDice() {
  at("seed").value = Math.floor(Math.random() * LARGEST_SEED);
  at("seed-lock").checked = true;
}

export function open(isOpen) {
  at("settings").hidden = !isOpen;
  at("show-settings").setAttribute("aria-expanded", isOpen);
}

// Show a refusal beside the control that it is about, and go there.
export function showError(message, param) {
  const id = { ...FIELDS, prompt: "prompt", mask: "mask", image: "image", key: "key" }[param] ?? "run";
  at(`${id}-error`).textContent = message;
  if (at("settings").contains(at(id))) open(true);
  if (at(id)?.matches("input, textarea, select")) {
    at(id).setAttribute("aria-invalid", "true");
    at(id).focus();
  }
}

export function clearErrors() {
  for (const told of document.querySelectorAll(".error")) told.textContent = "";
  for (const field of document.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}
