// Elements from text. Nothing here parses markup, so a name from the service can never become an element. Unseen characters in
// texts and attributes are written out, so a name cannot turn the text around it either.

import { middleCut, visible } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';

/**
 * An element. Attributes: `class`, `text`, `on` ({ event: listener }), `data` (dataset), every other one as it is called;
 * true sets an empty one, and false, null and undefined leave it out. Children: nodes, strings, and arrays of them; null is skipped.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'text') node.textContent = visible(value);
    else if (name === 'on') for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === 'data') Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? '' : visible(value));
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child !== null && child !== undefined && child !== false) node.append(child instanceof Node ? child : visible(child));
  }
}

/** Sets the text if it is another one: equal text would restart selections and screen readers. */
export function setText(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

/** Sets the children of a node. */
export function setChildren(node, ...children) {
  node.replaceChildren();
  append(node, children);
}

/** Sets or removes an attribute. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== visible(value)) node.setAttribute(name, value === true ? '' : visible(value));
}

/** Text nodes with a chance to break a line after each `::` and `/`, and after `, ` as always. */
export function breakable(text) {
  const nodes = document.createDocumentFragment();
  for (const part of visible(text).split(/(?<=::|\/)(?=[^/:])/)) {
    if (nodes.hasChildNodes()) nodes.append(document.createElement('wbr'));
    nodes.append(part);
  }
  return nodes;
}

/** Longer names are cut in the middle: both the crate and the function stay readable. */
const LONGEST_NAME = 160;

/**
 * An identifier or a path. A very long one is cut in the middle; a button shows the whole, by pointer and by keyboard.
 */
export function code(text, longest = LONGEST_NAME) {
  const whole = String(text);
  if (whole.length <= longest) return el('code', {}, breakable(whole));
  const head = Math.ceil(longest * 0.6);
  const short = `${whole.slice(0, head)} … ${whole.slice(head - longest)}`;
  const name = el('code', {}, breakable(short));
  const button = el('button', { type: 'button', class: 'whole', 'aria-expanded': 'false', text: 'whole name' });
  button.addEventListener('click', (event) => {
    event.stopPropagation();
    const is_open = button.getAttribute('aria-expanded') === 'true';
    button.setAttribute('aria-expanded', String(!is_open));
    name.replaceChildren(breakable(is_open ? short : whole));
    button.textContent = is_open ? 'whole name' : 'shorter';
  });
  return el('span', { class: 'long-name' }, name, ' ', button);
}

/** The same where no button may be: inside a button. */
export function shortCode(text, longest = LONGEST_NAME) {
  return el('code', {}, breakable(middleCut(String(text), longest)));
}

/** A code element whose text changes: `update(text)` rebuilds it only if the text is another one. */
export function setCode(holder, text, longest) {
  if (holder.shown === text) return;
  holder.shown = text;
  holder.replaceChildren(...(text === null || text === undefined ? [] : [code(text, longest)]));
}

/**
 * Makes the children of `container` stand for `items`, in their order, and keeps the nodes of items that stay.
 * `create(item)` gives a node; `update(node, item, index)` fills it.
 */
export function keyed(container, items, keyOf, create, update) {
  const old = container.keyed ?? new Map();
  const now = new Map();
  const is_kept = new Set(old.values());
  let at = container.firstChild;
  // Other children, such as a caption, stay in front.
  while (at && !is_kept.has(at)) at = at.nextSibling;
  items.forEach((item, index) => {
    let key = keyOf(item, index);
    while (now.has(key)) key = `${key} again`;
    const node = old.get(key) ?? create(item);
    old.delete(key);
    now.set(key, node);
    update?.(node, item, index);
    if (node === at) at = at.nextSibling;
    else container.insertBefore(node, at);
  });
  for (const node of old.values()) node.remove();
  container.keyed = now;
}

/** A function that runs `work` once in the next frame, however often it is called; in a hidden tab it waits. */
export function coalesced(work) {
  let is_due = false;
  return () => {
    if (is_due) return;
    is_due = true;
    requestAnimationFrame(() => {
      is_due = false;
      work();
    });
  };
}

/**
 * A table. Columns: { title, hint?, class?, cell(row) → string | node, same?(row) → string }. `update(rows, keyOf)` shows rows.
 * A cell with a string is filled again if it is another one; a cell with a node, if `same` gives another text.
 */
export function table(caption, columns, attributes = {}) {
  const body = el('tbody');
  const head = el('tr', {}, columns.map((column) => el('th', { scope: 'col', class: column.class, title: column.hint, text: column.title })));
  const node = el('table', attributes, el('caption', { class: 'unseen', text: caption }), el('thead', {}, head), body);
  const fillRow = (row, item) => {
    columns.forEach((column, index) => {
      const cell = row.cells[index];
      const same = column.same?.(item);
      if (same !== undefined && cell.same === same) return;
      cell.same = same;
      const content = column.cell(item);
      if (typeof content === 'string') setText(cell, content);
      else if (content === null || content === undefined) setText(cell, '–');
      else cell.replaceChildren(content);
    });
  };
  const create = () => el('tr', {}, columns.map((column, index) =>
    el(index === 0 ? 'th' : 'td', { class: column.class, scope: index === 0 ? 'row' : null })));
  return {
    node,
    update(rows, keyOf = (_, index) => index) {
      keyed(body, rows, keyOf, create, fillRow);
    },
  };
}

/**
 * A `details` element for the table of a chart: `fillTable()` runs when it opens, and `refresh()` runs it again while it is open.
 */
export function asTable(title, table_node, fillTable) {
  const scroll = el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': title }, table_node);
  const node = el('details', { class: 'as-table' }, el('summary', { text: 'As a table' }), scroll);
  node.querySelector('summary').append(el('span', { class: 'unseen', text: `: ${title}` }));
  node.addEventListener('toggle', () => { if (node.open) fillTable(); });
  return { node, refresh: () => { if (node.open) fillTable(); } };
}

/** A name and its value, for a `dl`. */
export function fact(name, ...value) {
  return [el('dt', { text: name }), el('dd', {}, value)];
}
