// The tree of a flamegraph: stacks with equal callers merged.

import { weightsOfStacks } from './profile_filter.js';

/** Rare stacks beyond this many nodes are cut. */
export const MOST_NODES = 200_000;

/** Lines of a function that its node remembers. */
const MOST_LINES = 6;

/**
 * The tree of the samples in the view: { root, total, count, nodes, cut_stacks }. `invert`: the root's children are the innermost
 * functions, and their children the callers.
 *
 * A node: { name, origin, package, file, lines, value, self, count, children, parent, depth, size, key }. `base` and `base_self`
 * are null except in a difference. The root's depth is 0.
 */
export function buildTree(recording, filter, { invert = false, most = MOST_NODES } = {}) {
  const sums = weightsOfStacks(recording, filter);
  const order = [...recording.stacks.keys()].filter((stack) => sums.weights[stack] > 0)
    .sort((a, b) => sums.weights[b] - sums.weights[a]);
  const root = node({ name: 'all', origin: 'all' }, null);
  const tree = { root, total: sums.total, count: sums.count, nodes: 1, cut_stacks: 0 };
  for (const stack of order) {
    addStack(tree, recording, stack, { weight: sums.weights[stack], count: sums.counts[stack], invert, most });
  }
  finish(root);
  return tree;
}

function node(code, parent) {
  return {
    name: code.name, origin: code.origin, package: code.package ?? null, file: code.file ?? null, lines: [],
    value: 0, self: 0, count: 0, base: null, base_self: null, children: new Map(), parent, depth: parent ? parent.depth + 1 : 0, size: 1, key: '',
  };
}

function addStack(tree, recording, stack, { weight, count, invert, most }) {
  const frames = recording.stacks[stack];
  let at = tree.root;
  add(at, weight, count);
  for (let i = 0; i < frames.length; i++) {
    const frame = frames[invert ? frames.length - 1 - i : i];
    const code = recording.frames[frame];
    let child = at.children.get(code);
    if (!child) {
      if (tree.nodes >= most) {
        tree.cut_stacks += 1;
        break;
      }
      child = node(recording.functions[code], at);
      at.children.set(code, child);
      tree.nodes += 1;
    }
    at = child;
    add(at, weight, count);
    const line = recording.lines[frame];
    if (line > 0 && at.lines.length < MOST_LINES && !at.lines.includes(line)) at.lines.push(line);
    // In an inverted tree, the first function is the one that the time was spent in.
    if (invert && i === 0) at.self += weight;
  }
  if (!invert) at.self += weight;
}

function add(at, weight, count) {
  at.value += weight;
  at.count += count;
}

/** Sorts children, widest first, and counts the nodes below each. Without recursion: stacks can be deep. */
function finish(root) {
  const order = preorder(root, (at) => {
    if (!(at.children instanceof Map)) return;
    at.children = [...at.children.values()];
    at.children.sort((a, b) => widthOf(b) - widthOf(a) || (a.name < b.name ? -1 : 1));
  });
  for (const at of order) at.key = at.parent ? hashed(at.parent.key, at.name) : '';
  for (let i = order.length - 1; i > 0; i--) order[i].parent.size += order[i].size;
}

/** The nodes below and with `root`, callers before callees. `enter(node)` runs before a node's children are read. */
export function preorder(root, enter = () => {}) {
  const order = [];
  const waiting = [root];
  while (waiting.length > 0) {
    const at = waiting.pop();
    enter(at);
    order.push(at);
    for (let i = at.children.length - 1; i >= 0; i--) waiting.push(at.children[i]);
  }
  return order;
}

/** The width of a node. In a difference it is the mean of both windows, so what vanished is visible. */
export function widthOf(at) {
  return at.base === null ? at.value : (at.value + at.base) / 2;
}

/** A name for the path to a node, short enough for a URL. */
function hashed(key, name) {
  let [a, b] = [0x811c9dc5, 0x1000193];
  for (const text of [key, '\n', name]) {
    for (let i = 0; i < text.length; i++) {
      a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
      b = Math.imul(b ^ text.charCodeAt(i), 0x85ebca6b) + i;
    }
  }
  return ((a >>> 0) * 0x100000 + ((b >>> 12) & 0xfffff)).toString(36);
}

/** The node with a key, or null. */
export function findNode(root, key) {
  if (!key) return null;
  return preorder(root).find((at) => at.key === key) ?? null;
}

/** The nodes from the root to a node, without the root. */
export function pathTo(at) {
  const path = [];
  for (let node = at; node?.parent; node = node.parent) path.unshift(node);
  return path;
}

/**
 * The tree of `after` minus `before`: `value` is of `after`, and `base` of `before` times `scale`. Nodes of either are in it.
 */
export function differenceTree(after, before, scale = 1) {
  const root = node(after.root, null);
  const tree = { root, total: after.total, count: after.count, base_total: before.total * scale, nodes: 1, cut_stacks: after.cut_stacks + before.cut_stacks };
  const waiting = [[root, after.root, before.root]];
  while (waiting.length > 0) {
    const [at, new_node, old_node] = waiting.pop();
    at.value = new_node?.value ?? 0;
    at.self = new_node?.self ?? 0;
    at.count = new_node?.count ?? 0;
    at.base = (old_node?.value ?? 0) * scale;
    at.base_self = (old_node?.self ?? 0) * scale;
    at.lines = new_node?.lines ?? old_node?.lines ?? [];
    const old_children = new Map((old_node?.children ?? []).map((child) => [`${child.origin} ${child.name}`, child]));
    for (const new_child of new_node?.children ?? []) {
      const name = `${new_child.origin} ${new_child.name}`;
      waiting.push([childOf(tree, at, name, new_child), new_child, old_children.get(name)]);
      old_children.delete(name);
    }
    for (const [name, old_child] of old_children) waiting.push([childOf(tree, at, name, old_child), undefined, old_child]);
  }
  finish(root);
  return tree;
}

function childOf(tree, parent, name, like) {
  const child = node(like, parent);
  parent.children.set(name, child);
  tree.nodes += 1;
  return child;
}

/** The change of a node: of its value against its base. Null without a difference. */
export function changeOf(at) {
  return at.base === null ? null : at.value - at.base;
}
