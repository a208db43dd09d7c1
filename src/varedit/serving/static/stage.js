// The picture in the middle: what is shown, the slider between before and after, and where they differ.

const at = (id) => document.getElementById(id);
const frame = at("frame"), after = at("after"), before = at("before"), split = at("split"), region = at("region");
const VISIBLE = 6; // levels of 255; smaller differences are not seen
const MEASURED_SIDE = 1024; // pixels; pictures are compared at most this large
const THUMBNAIL_SIDE = 160;
const wanted = new WeakMap(); // the address that each picture on the page should show

split.addEventListener("input", moveDivider);

// Show a picture of a width and height in pixels; the promise is kept when it is drawn.
export async function show(url, words, width, height) {
  frame.style.setProperty("--w", width);
  frame.style.setProperty("--h", height);
  frame.hidden = false;
  await draw(after, url);
  after.alt = words;
}

// What the slider uncovers; null takes the slider away.
export async function compareWith(url) {
  if (url) await draw(before, url);
  for (const part of [before, at("divider"), split]) part.hidden = !url;
  moveDivider();
}

// Wipe once from before to after, so that the slider need not be explained; no motion for those who want none.
export function sweep() {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const begun = performance.now();
  const step = (now) => {
    const share = Math.min(1, (now - begun) / 700);
    setDivider(100 * (1 - share) ** 3);
    if (share < 1 && !split.matches(":active, :focus")) requestAnimationFrame(step);
    else moveDivider();
  };
  requestAnimationFrame(step);
}

// Veil what is equal in the pictures of two addresses, with a line around what differs; returns its share, 0..1.
export async function showRegion(oldUrl, newUrl) {
  const [old, fresh] = [await pixels(oldUrl), await pixels(newUrl)];
  const { width, height } = Object.assign(region, { width: fresh.width, height: fresh.height });
  const changed = new Uint8Array(width * height);
  for (let i = 0; i < changed.length; i++) {
    for (let c = 4 * i; c < 4 * i + 4; c++) changed[i] |= Math.abs(old.data[c] - fresh.data[c]) > VISIBLE;
  }
  const veil = new ImageData(width, height);
  let count = 0;
  for (let i = 0; i < changed.length; i++) {
    count += changed[i];
    const isNearChange = changed[i - width] || changed[i + width] || (i % width && changed[i - 1]) ||
      (i % width < width - 1 && changed[i + 1]);
    if (!changed[i]) veil.data.set(isNearChange ? [255, 0, 140, 255] : [20, 22, 26, 190], 4 * i);
  }
  region.getContext("2d").putImageData(veil, 0, 0);
  region.hidden = false;
  return count / changed.length;
}

export function hideRegion() { region.hidden = true; }

// The picture of a file and its size in pixels, turned as it should be; null if this browser cannot show it.
export async function opened(blob) {
  const url = URL.createObjectURL(blob);
  try {
    const image = await decoded(url);
    return { url, width: image.naturalWidth, height: image.naturalHeight };
  } catch {
    URL.revokeObjectURL(url);
    return null;
  }
}

// Show a picture only when it is ready, so that nothing flashes; of several at once the last one asked for wins.
export async function draw(element, url) {
  wanted.set(element, url);
  await decoded(url);
  if (wanted.get(element) !== url) return;
  element.src = url;
  await element.decode().catch(() => {}); // another picture has taken its place
}

// A small copy, as an address: the strip of versions must not hold all pictures in full.
export async function thumbnail(url) {
  const canvas = await smaller(url, THUMBNAIL_SIDE);
  return canvas.toDataURL("image/jpeg", 0.8);
}

function moveDivider() { setDivider(Number(split.value)); }

function setDivider(percent) {
  frame.style.setProperty("--split", `${percent}%`);
  split.setAttribute("aria-valuetext", percent ? `${Math.round(percent)} % as it was` : "all as it is now");
}

async function pixels(url) {
  const canvas = await smaller(url, MEASURED_SIDE);
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
}

// A canvas with a picture, its longer side at most ``side`` pixels.
async function smaller(url, side) {
  const image = await decoded(url);
  const share = Math.min(1, side / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * share));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * share));
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function decoded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}
