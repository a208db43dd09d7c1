// Painting the places that may change, by mouse, finger, pen or keys. Strokes are kept in the photograph's own pixels.

const at = (id) => document.getElementById(id);
const canvas = at("brush"), size = at("brush-size"), erase = at("brush-erase");
const STEP = 0.02; // of the longer side, by an arrow key
const SHOWN_SIDE = 1024;
const TINT = "#ff008c";

let strokes = []; // { points: [[x, y], ...], width, isErasing }
let picture = { width: 1, height: 1 };
let cursor = null; // [x, y] once keys paint
let told = () => {}; // called after every change

canvas.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  cursor = null;
  begin(place(event));
});
canvas.addEventListener("pointermove", (event) => {
  if (!canvas.hasPointerCapture(event.pointerId)) return;
  strokes.at(-1).points.push(...[event, ...(event.getCoalescedEvents?.() ?? [])].slice(-1).map(place));
  redraw();
});
canvas.addEventListener("pointerup", () => told());
canvas.addEventListener("keydown", onKey);
for (const event of ["focus", "blur"]) canvas.addEventListener(event, redraw);

// Begin with an empty mask for a picture of a width and height.
export function prepare(width, height, onChange) {
  picture = { width, height };
  told = onChange;
  clear();
}

export function clear() { strokes = []; cursor = null; redraw(); told(); }

// Take the last stroke back; false if there is none.
export function takeBack() {
  if (!strokes.pop()) return false;
  redraw();
  told();
  return true;
}

// The painted share of the picture, 0..1.
export function share() {
  const { width, height } = shown();
  const data = layer(width, height).getContext("2d").getImageData(0, 0, width, height).data;
  let sum = 0;
  for (let i = 3; i < data.length; i += 4) sum += data[i] > 127;
  return sum / (width * height);
}

// A PNG of the photograph's size, clear where it may change and opaque elsewhere; null if nothing is painted.
export async function mask() {
  if (!share()) return null;
  const { width, height } = picture;
  const whole = Object.assign(document.createElement("canvas"), { width, height });
  const context = whole.getContext("2d");
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "destination-out";
  context.drawImage(layer(width, height), 0, 0);
  return new Promise((resolve) => { whole.toBlob(resolve, "image/png"); });
}

function begin(point) {
  const width = size.value / 100 * Math.max(picture.width, picture.height);
  strokes.push({ points: [point], width, isErasing: erase.checked });
  redraw();
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * picture.width, (event.clientY - box.top) / box.height * picture.height];
}

function onKey(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const step = STEP * Math.max(picture.width, picture.height);
  if (moves[event.key]) {
    const [x, y] = cursor ?? [picture.width / 2, picture.height / 2], [dx, dy] = moves[event.key];
    cursor = [Math.min(picture.width, Math.max(0, x + dx * step)), Math.min(picture.height, Math.max(0, y + dy * step))];
  } else if (event.key === " ") {
    begin(cursor ??= [picture.width / 2, picture.height / 2]);
    told();
  } else return;
  event.preventDefault();
  redraw();
}

function shown() {
  const scale = Math.min(1, SHOWN_SIDE / Math.max(picture.width, picture.height));
  return { width: Math.max(1, Math.round(picture.width * scale)), height: Math.max(1, Math.round(picture.height * scale)) };
}

function redraw() {
  Object.assign(canvas, shown());
  const context = canvas.getContext("2d");
  context.globalAlpha = 0.5;
  context.drawImage(layer(canvas.width, canvas.height), 0, 0);
  if (!cursor || document.activeElement !== canvas) return;
  const scale = canvas.width / picture.width, radius = size.value / 200 * Math.max(canvas.width, canvas.height);
  context.globalAlpha = 1;
  for (const [colour, dashes] of [["#fff", []], ["#000", [4, 4]]]) {
    context.strokeStyle = colour;
    context.setLineDash(dashes);
    context.beginPath();
    context.arc(cursor[0] * scale, cursor[1] * scale, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

// The strokes alone, on a canvas of a width and height.
function layer(width, height) {
  const drawn = Object.assign(document.createElement("canvas"), { width, height });
  const context = drawn.getContext("2d"), scale = width / picture.width;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = TINT;
  for (const { points, width: broad, isErasing } of strokes) {
    context.globalCompositeOperation = isErasing ? "destination-out" : "source-over";
    context.lineWidth = broad * scale;
    context.beginPath();
    context.arc(points[0][0] * scale, points[0][1] * scale, context.lineWidth / 2, 0, 2 * Math.PI);
    context.fill(); // a lone point is a dot, and a line of no length is none
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x * scale, y * scale);
    context.stroke();
  }
  return drawn;
}
