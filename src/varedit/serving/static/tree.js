// The strip of versions: a tree from left to right, drawn as lists within lists.

const strip = document.getElementById("versions");

// Draw all versions; `choose` is called with the one that is pressed.
export function drawTree(versions, choose) {
  const hadFocus = strip.contains(document.activeElement);
  const path = new Set([versions.root, ...versions.edits()]);
  const list = document.createElement("ul");
  list.append(branch(versions.root));
  strip.replaceChildren(list);
  strip.hidden = false;
  const current = strip.querySelector("[aria-current]");
  if (hadFocus) current.focus({ preventScroll: true });
  const beyond = current.getBoundingClientRect().right - strip.getBoundingClientRect().right;
  if (beyond > 0) strip.scrollLeft += beyond + 8;

  function branch(version) {
    const item = document.createElement("li");
    const button = item.appendChild(document.createElement("button"));
    button.type = "button";
    button.title = version.instruction || "The photograph";
    button.classList.toggle("off", !path.has(version));
    if (version === versions.current) button.setAttribute("aria-current", "true");
    const image = button.appendChild(document.createElement("img"));
    image.src = version.thumbnail;
    image.alt = wordsOf(version);
    button.addEventListener("click", () => choose(version));
    if (version.children.length) {
      const children = item.appendChild(document.createElement("ul"));
      children.append(...version.children.map(branch));
    }
    return item;
  }
}

// A version in words.
export function wordsOf(version) {
  return version.parent ? `Version ${version.id}: ${version.instruction}` : "The photograph";
}
