// The functions of a tree as rows of a table. A recursive function counts once in its own total.

import { preorder } from './flame_tree.js';

/** Rows of the table. */
export const MOST_ROWS = 200;

/**
 * The functions below `root`, most own time first: { rows: [{ name, origin, file, lines, self, total, base_self, base_total }], left_out }.
 * `inverted`: the tree is one of callers, so only the innermost functions have own time.
 */
export function functionsBelow(root, most = MOST_ROWS) {
  const rows = new Map();
  for (const at of preorder(root)) {
    if (!at.parent) continue;
    const key = `${at.origin} ${at.name}`;
    if (!rows.has(key)) {
      rows.set(key, { name: at.name, origin: at.origin, file: at.file, lines: new Set(), self: 0, total: 0, base_self: 0, base_total: 0 });
    }
    const row = rows.get(key);
    for (const line of at.lines) row.lines.add(line);
    row.self += at.self;
    row.base_self += at.base_self ?? 0;
    if (isOutermost(at)) {
      row.total += at.value;
      row.base_total += at.base ?? 0;
    }
  }
  const has_base = root.base !== null;
  const weight = (row) => (has_base ? Math.abs(row.self - row.base_self) : row.self);
  const sorted = [...rows.values()].sort((a, b) => weight(b) - weight(a) || b.total - a.total);
  return { rows: sorted.slice(0, most), left_out: Math.max(0, sorted.length - most) };
}

function isOutermost(at) {
  for (let caller = at.parent; caller; caller = caller.parent) {
    if (caller.name === at.name && caller.origin === at.origin) return false;
  }
  return true;
}
