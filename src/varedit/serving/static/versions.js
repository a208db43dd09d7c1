// The tree of versions of one photograph, and the way through it. Knows nothing of the page.

export const MAX_VERSIONS = 50; // pictures are large; the oldest that nothing rests on goes first

export class Versions {
  // A version is { id, parent, children, next, blob, url, instruction, seed, settings, codes }. The root is the
  // photograph. `next` is the child that redo goes to.
  constructor(photo) {
    this.root = { ...photo, id: 0, parent: null, children: [], next: null };
    this.current = this.root;
    this.lastId = 0;
  }

  add(parent, result) {
    const version = { ...result, id: ++this.lastId, parent, children: [], next: null };
    parent.children.push(version);
    parent.next = version;
    return version;
  }

  choose(version) {
    this.current = version;
    for (let child = version; child.parent; child = child.parent) child.parent.next = child;
  }

  undo() { if (this.current.parent) this.choose(this.current.parent); }

  redo() { if (this.current.next) this.choose(this.current.next); }

  // All versions, parents before children, older before younger.
  all(from = this.root) { return [from, ...from.children.flatMap((child) => this.all(child))]; }

  // The edits that led to a version, the first one first.
  edits(version = this.current) { return version.parent ? [...this.edits(version.parent), version] : []; }

  // Drop what is too much; returns the dropped versions, whose memory the caller frees.
  trim() {
    const dropped = [];
    while (this.all().length > MAX_VERSIONS) {
      const path = new Set([this.root, ...this.edits()]);
      const oldest = this.all().filter((one) => !one.children.length && !path.has(one)).sort((a, b) => a.id - b.id)[0];
      if (!oldest) break;
      const siblings = oldest.parent.children;
      siblings.splice(siblings.indexOf(oldest), 1);
      if (oldest.parent.next === oldest) oldest.parent.next = siblings.at(-1) ?? null;
      dropped.push(oldest);
    }
    return dropped;
  }
}
