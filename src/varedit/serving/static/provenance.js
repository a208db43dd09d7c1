// What a result's file tells of its making, and the same as a command or as Python. Knows nothing of the page.

import { exactJson } from "./api.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const KEYWORD = "varedit";

// The settings in a PNG's iTXt chunk, as an object; null if there are none.
export async function readProvenance(blob) {
  const view = new DataView(await blob.arrayBuffer());
  if (view.byteLength < 8 || SIGNATURE.some((byte, place) => view.getUint8(place) !== byte)) return null;
  for (let at = 8; at + 12 <= view.byteLength;) {
    const length = view.getUint32(at), end = at + 8 + length;
    const kind = latin(view, at + 4, at + 8);
    if (kind === "IDAT" || end > view.byteLength) return null; // ours stands before the pixels
    const start = at + 8 + KEYWORD.length;
    if (kind === "iTXt" && latin(view, at + 8, start + 1) === `${KEYWORD}\0`) return parsed(view, start + 1, end);
    at = end + 4; // the checksum
  }
  return null;
}

// After the keyword: is it compressed, how, language\0, translated keyword\0, text.
function parsed(view, start, end) {
  if (view.getUint8(start)) return null; // ours is not
  let at = start + 2;
  for (let zeros = 0; zeros < 2 && at < end; at++) zeros += view.getUint8(at) === 0;
  try {
    const found = exactJson(new TextDecoder().decode(new Uint8Array(view.buffer, at, end - at)));
    return typeof found?.instruction === "string" ? found : null;
  } catch { return null; } // somebody else's text under our name
}

function latin(view, start, end) {
  let text = "";
  for (let at = start; at < Math.min(end, view.byteLength); at++) text += String.fromCharCode(view.getUint8(at));
  return text;
}

// A name for a result: the photograph's, some words of the instruction, the seed.
export function fileName(photo, version) {
  const stem = photo.replace(/\.[^.]*$/, "") || "picture";
  if (!version.parent) return photo;
  const words = version.instruction.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40);
  return `${stem}-${words || "edited"}-${version.seed}.${version.settings.output_format === "jpeg" ? "jpg" : version.settings.output_format}`;
}

const EMBEDDED = "mini"; // the model that is taken where none is named

// The edits that led to a version as commands, one a line; each begins with the pixels of the result before it.
export function asCommand(photo, edits, model) {
  return edits.map((edit, place) => {
    const source = place ? fileName(photo, edits[place - 1]) : photo;
    const options = { model: model === EMBEDDED ? "" : model, seed: edit.seed, guidance: edit.settings.guidance_scale,
      temperature: edit.settings.temperature, mask: edit.settings.mask && "mask.png" };
    const said = Object.entries(options).filter(([, value]) => value).map(([name, value]) => ` --${name} ${quoted(value)}`);
    return `varedit edit ${quoted(source)} ${quoted(edit.instruction)}${said.join("")} -o ${quoted(fileName(photo, edit))}`;
  }).join("\n");
}

// The same as Python, where each edit goes on from the codes of the one before it, as it does here.
export function asPython(photo, edits, model) {
  const calls = edits.map((edit, place) => {
    const options = { seed: edit.seed, guidance_scale: edit.settings.guidance_scale, temperature: edit.settings.temperature,
      mask: edit.settings.mask && '"mask.png"', codes: place && "result.codes" };
    const said = Object.entries(options).filter(([, value]) => value).map(([name, value]) => `, ${name}=${value}`);
    return `result = pipe(${JSON.stringify(photo)}, ${JSON.stringify(edit.instruction)}${said.join("")})`;
  });
  const loaded = model === EMBEDDED ? "" : JSON.stringify(model);
  return ["from varedit import VAREditPipeline", "", `pipe = VAREditPipeline.from_pretrained(${loaded})`, ...calls,
    `result.images[0].save(${JSON.stringify(fileName(photo, edits.at(-1)))})`].join("\n");
}

function quoted(text) { return /^[\w./-]+$/.test(text) && !text.startsWith("-") ? text : `'${text.replaceAll("'", "'\\''")}'`; }
