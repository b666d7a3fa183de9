// Where the boxes of a flamegraph are, and which nodes have one.

import { pathTo, preorder, widthOf } from './flame_tree.js';

/** Narrower boxes are not drawn: nobody can see them. */
export const LEAST_PIXELS = 0.5;

/** The widest nodes are drawn if there are more. */
export const MOST_BOXES = 5000;

/**
 * The boxes of the tree below `zoomed`, and above it its callers in full width: { boxes, levels, left_out }. A box:
 * { node, level, left, width, is_caller, place, places }: left and width as a share of the whole width; place: 1 … places among the
 * drawn siblings. Callers come before callees.
 */
export function layout(zoomed, pixels, { least = LEAST_PIXELS, most = MOST_BOXES } = {}) {
  const total = widthOf(zoomed);
  const callers = zoomed.parent ? [zoomed.parent, ...pathAbove(zoomed.parent)].reverse() : [];
  const boxes = callers.map((node, level) => ({ node, level, left: 0, width: 1, is_caller: true, place: 1, places: 1 }));
  const below = widest(visibleBoxes(zoomed, total, callers.length, least / Math.max(1, pixels)), most);
  numberSiblings(below);
  boxes.push(...below);
  const levels = boxes.reduce((deepest, box) => Math.max(deepest, box.level + 1), 0);
  return { boxes, levels, left_out: zoomed.size - below.length };
}

function pathAbove(node) {
  const above = [];
  for (let at = node.parent; at; at = at.parent) above.push(at);
  return above;
}

function visibleBoxes(zoomed, total, level, least) {
  const boxes = [];
  const waiting = [{ node: zoomed, level, left: 0, width: 1, is_caller: false, place: 1, places: 1 }];
  while (waiting.length > 0) {
    const box = waiting.pop();
    boxes.push(box);
    const children = [];
    let left = box.left;
    for (const child of box.node.children) {
      const width = total > 0 ? widthOf(child) / total : 0;
      if (width >= least) children.push({ node: child, level: box.level + 1, left, width, is_caller: false, place: 1, places: 1 });
      left += width;
    }
    for (let i = children.length - 1; i >= 0; i--) waiting.push(children[i]);
  }
  return boxes;
}

/** At most `most` boxes. A caller is as wide as its callees and comes first, so no box loses its caller. */
function widest(boxes, most) {
  if (boxes.length <= most) return boxes;
  const limit = boxes.map((box) => box.width).sort((a, b) => b - a)[most - 1];
  let equal = most - boxes.filter((box) => box.width > limit).length;
  return boxes.filter((box) => box.width > limit || (box.width === limit && equal-- > 0));
}

function numberSiblings(boxes) {
  const siblings = new Map();
  for (const box of boxes) {
    const parent = box.node.parent;
    siblings.set(parent, (siblings.get(parent) ?? 0) + 1);
    box.place = siblings.get(parent);
  }
  for (const box of boxes) box.places = siblings.get(box.node.parent);
}

/**
 * The nodes whose name contains a text, callers first, and their share of `root`. A match inside a match is counted once.
 */
export function search(root, text) {
  const wanted = text.trim().toLowerCase();
  if (wanted === '') return { nodes: [], share: 0 };
  const nodes = preorder(root).filter((at) => at.parent && at.name.toLowerCase().includes(wanted));
  const found = new Set(nodes);
  const outermost = nodes.filter((at) => !pathTo(at.parent).some((caller) => found.has(caller)));
  const sum = outermost.reduce((total, at) => total + widthOf(at), 0);
  return { nodes, share: widthOf(root) > 0 ? sum / widthOf(root) : 0 };
}
