// The flamegraph: a tree of boxes for pointers, keys and screen readers. It knows nothing of recordings.
//
// Callers are on top, so the keys go the way the tree does: down to callees, up to callers.

import { changeOf, findNode, widthOf } from './flame_tree.js';
import { layout, search } from './flame_layout.js';
import { fittedName } from './flame_name.js';
import { amount, changeMark, originText, placeText, shareOf, signed, signedShare } from './flame_text.js';
import { visible } from './format.js';

/** Targets of 24 px can be hit by a finger. */
const ROW = 24;

/** Narrower boxes have no name. */
const LEAST_NAMED = 46;

const MOST_ZOOMS = 100;

const NO_MATCH = { nodes: [], share: 0 };

const NOTHING_DRAWN = { boxes: [], levels: 0, left_out: 0 };

/**
 * The flamegraph. `on_zoom(key)` gets the key of the zoomed node, '' for the whole tree. `on_change()` runs after zooms and searches.
 */
export function createFlameView(app, { on_zoom, on_change }) {
  const { el } = app.dom;
  const ruler = el('span', { class: 'flame-ruler', 'aria-hidden': 'true', text: 'm'.repeat(40) });
  const tree_node = el('div', { class: 'flame-tree', role: 'tree', 'aria-describedby': 'flame-keys' });
  const detail = createDetail(app);
  const node = el('div', { class: 'flame-view' }, detail.node, ruler, tree_node);

  let shown = null;
  let zoomed = null;
  let drawn = NOTHING_DRAWN;
  let matches = NO_MATCH;
  let found = new Set();
  let wanted = '';
  let match_index = -1;
  let focused = null;
  let pixels = 0;
  let largest_change = 0;
  const [back, forward] = [[], []];
  /** Boxes and elements of nodes, of the current drawing only. */
  let element_of = new Map();

  const draw = () => {
    if (!shown) return;
    pixels = tree_node.clientWidth;
    if (pixels === 0) return;
    const had_focus = tree_node.contains(document.activeElement);
    drawn = layout(zoomed, pixels);
    largest_change = drawn.boxes.reduce((largest, box) => Math.max(largest, Math.abs(changeOf(box.node) ?? 0)), 0);
    const character = ruler.getBoundingClientRect().width / 40;
    element_of = new Map();
    const elements = drawn.boxes.map((box) => {
      const element = boxElement(box, character);
      element_of.set(box.node, element);
      return element;
    });
    tree_node.style.height = `${drawn.levels * ROW}px`;
    tree_node.replaceChildren(...elements);
    if (!element_of.has(focused)) focused = nearest(focused) ?? zoomed;
    makeCurrent(focused, { take_focus: had_focus, keep_scroll: true });
    on_change();
  };

  /** The nearest caller that is drawn. */
  const nearest = (at) => {
    for (let caller = at; caller; caller = caller.parent) if (element_of.has(caller)) return caller;
    return null;
  };

  /** The ink of a change, against the largest one. */
  const strength = (change) => (change === 0 ? 0 : 30 + 70 * Math.abs(change) / largest_change);

  const boxElement = (box, character) => {
    const at = box.node;
    const change = changeOf(at);
    const classes = ['flame-box', change === null ? `of-${at.origin}` : change > 0 ? 'is-more' : change < 0 ? 'is-less' : 'is-same'];
    if (!at.parent) classes.push('is-root');
    if (at.origin === 'user') classes.push('is-user');
    if (at.origin === 'runtime') classes.push('is-runtime');
    if (box.is_caller) classes.push('is-caller');
    if (found.has(at)) classes.push('is-match');
    const width = box.width * pixels;
    if (width < 3) classes.push('is-narrow');
    const element = el('div', {
      class: classes.join(' '), role: 'treeitem', tabindex: '-1', 'aria-level': at.depth + 1, 'aria-posinset': box.place, 'aria-setsize': box.places,
      'aria-label': spoken(at, shown, found.has(at)),
    });
    element.style.left = `${box.left * 100}%`;
    element.style.width = `${box.width * 100}%`;
    if (change !== null) element.style.setProperty('--strength', `${strength(change)}%`);
    element.style.top = `${box.level * ROW}px`;
    if (width >= LEAST_NAMED) {
      if (change !== null) element.dataset.mark = `${changeMark(change)} `;
      const name = nameOf(at);
      const fitted = fittedName(name, Math.floor((width - 12) / character) - (change === null ? 0 : 2));
      // A cut name is a picture of the name only: the label has the whole.
      if (fitted === name) element.append(name);
      else element.dataset.name = fitted;
    }
    element.node = at;
    return element;
  };

  /** Makes a box the current one. Its element gets the focus, unless somebody works with other controls. */
  const makeCurrent = (at, { take_focus = true, keep_scroll = false } = {}) => {
    const old = element_of.get(focused);
    old?.setAttribute('tabindex', '-1');
    old?.classList.remove('is-current');
    focused = at;
    const element = element_of.get(at);
    if (!element) return;
    element.setAttribute('tabindex', '0');
    element.classList.add('is-current');
    if (take_focus) element.focus({ preventScroll: keep_scroll });
    else if (!keep_scroll) element.scrollIntoView({ block: 'nearest' });
    detail.show(at, shown, zoomed);
  };

  const zoomTo = (at, { remember = true } = {}) => {
    if (!at || at === zoomed) return;
    if (remember) {
      back.push(zoomed.key);
      if (back.length > MOST_ZOOMS) back.shift();
      forward.length = 0;
    }
    zoomed = at;
    draw();
    on_zoom(zoomed.key);
  };
  const step = (from, to) => {
    while (from.length > 0) {
      const at = nodeOf(from.pop());
      if (!at || at === zoomed) continue;
      to.push(zoomed.key);
      zoomTo(at, { remember: false });
      return;
    }
  };
  const nodeOf = (key) => (key === '' ? shown.tree.root : findNode(shown.tree.root, key));

  const sibling = (at, by) => {
    const siblings = (at.parent?.children ?? []).filter((child) => element_of.has(child));
    return siblings[siblings.indexOf(at) + by];
  };
  /** The neighbor of the same level, also below another caller. */
  const neighbor = (at, by) => {
    const level = drawn.boxes.filter((box) => box.node.depth === at.depth);
    return level[level.findIndex((box) => box.node === at) + by]?.node;
  };
  const moves = {
    ArrowDown: (at) => at.children.find((child) => element_of.has(child)),
    ArrowUp: (at) => at.parent,
    ArrowRight: (at) => sibling(at, 1) ?? neighbor(at, 1),
    ArrowLeft: (at) => sibling(at, -1) ?? neighbor(at, -1),
    Home: () => drawn.boxes[0]?.node,
    End: () => drawn.boxes.reduce((deepest, box) => (box.level > deepest.level ? box : deepest), drawn.boxes[0])?.node,
  };

  tree_node.addEventListener('keydown', (event) => {
    if (!shown || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in moves) {
      const target = moves[event.key](focused);
      if (target) makeCurrent(target);
    } else if (event.key === 'Enter' || event.key === ' ') zoomTo(focused);
    else if (event.key === 'Backspace') step(back, forward);
    else if (event.key === 'Escape') {
      // Without a zoom, the key is for others.
      if (zoomed === shown.tree.root) return;
      step(back, forward);
    } else if (event.key === 'n' || event.key === 'N') nextMatch(event.key === 'n' ? 1 : -1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  tree_node.addEventListener('click', (event) => {
    const at = event.target.closest('.flame-box')?.node;
    if (!at) return;
    makeCurrent(at, { keep_scroll: true });
    zoomTo(at);
  });
  tree_node.addEventListener('focusin', (event) => {
    const at = event.target.node;
    if (!at) return;
    focused = at;
    detail.show(at, shown, zoomed);
  });
  tree_node.addEventListener('pointerover', (event) => {
    const at = event.target.closest('.flame-box')?.node;
    if (at) detail.show(at, shown, zoomed);
  });
  tree_node.addEventListener('pointerleave', () => detail.show(focused, shown, zoomed));

  const find = (text) => {
    wanted = text;
    matches = shown ? search(shown.tree.root, wanted) : NO_MATCH;
    found = new Set(matches.nodes);
    match_index = -1;
  };
  const nextMatch = (by) => {
    const all = matches.nodes.length;
    if (all === 0) return;
    match_index = match_index < 0 ? (by > 0 ? 0 : all - 1) : (match_index + by + all) % all;
    const at = matches.nodes[match_index];
    const take_focus = tree_node.contains(document.activeElement);
    // A match that is outside the zoom or too narrow is brought into the picture.
    if (!element_of.has(at)) zoomTo(at);
    makeCurrent(at, { take_focus });
    if (!take_focus) app.say(`Match ${match_index + 1} of ${all}: ${spoken(at, shown, false)}`);
    on_change();
  };

  let timer = null;
  new ResizeObserver(() => {
    if (tree_node.clientWidth === pixels) return;
    clearTimeout(timer);
    timer = setTimeout(draw, 60);
  }).observe(tree_node);

  return {
    node,
    /** Shows { tree, unit, counted(count) → text, title }; `key` is the zoomed node's. */
    show(next, key = '') {
      const old_path = focused ? focused.key : '';
      shown = next;
      tree_node.setAttribute('aria-label', next.title);
      zoomed = nodeOf(key) ?? shown.tree.root;
      focused = nodeOf(old_path) ?? zoomed;
      find(wanted);
      draw();
    },
    zoom(key) {
      if (shown && key !== zoomed.key) zoomTo(nodeOf(key) ?? shown.tree.root, { remember: false });
    },
    forget() {
      shown = zoomed = focused = null;
      element_of = new Map();
      matches = NO_MATCH;
      found = new Set();
      drawn = NOTHING_DRAWN;
      detail.clear();
      back.length = forward.length = 0;
      tree_node.replaceChildren();
    },
    search(text) {
      find(text);
      draw();
    },
    nextMatch,
    back: () => step(back, forward),
    forward: () => step(forward, back),
    whole: () => zoomTo(shown.tree.root),
    status: () => ({
      can_back: back.length > 0,
      can_forward: forward.length > 0,
      is_zoomed: shown !== null && zoomed !== shown.tree.root,
      matches: matches.nodes.length,
      match_share: matches.share,
      match_index,
      drawn: drawn.boxes.length,
      left_out: drawn.left_out,
    }),
  };
}

function nameOf(at) {
  return at.parent ? visible(at.name) : 'All';
}

/** What a screen reader says of a box. */
function spoken(at, { tree, unit }, is_match) {
  const parts = [nameOf(at)];
  const change = changeOf(at);
  if (change === null) parts.push(amount(at.value, unit), `${shareOf(at.value, tree.total)} of all`);
  else parts.push(`${change > 0 ? 'more' : change < 0 ? 'less' : 'no change'}: ${signed(change, unit)}`, `A ${amount(at.base, unit)}`, `B ${amount(at.value, unit)}`);
  if (at.parent) parts.push(originText(at.origin));
  if (is_match) parts.push('match');
  return parts.join(', ');
}

/** The line above the flamegraph: the whole name and the numbers of the focused or hovered box. */
function createDetail(app) {
  const { el, setText } = app.dom;
  const name = el('code', { class: 'flame-detail-name' });
  const numbers = el('span', { class: 'flame-detail-numbers' });
  const place = el('span', { class: 'flame-detail-place faint' });
  const node = el('div', { class: 'flame-detail' }, name, numbers, place);
  let last = null;
  return {
    node,
    clear() {
      last = null;
      name.replaceChildren();
      setText(numbers, '');
      setText(place, '');
    },
    show(at, shown, zoomed) {
      if (!at || !shown || (last?.at === at && last.shown === shown && last.zoomed === zoomed)) return;
      last = { at, shown, zoomed };
      name.replaceChildren(app.dom.breakable(at.parent ? at.name : 'All'));
      setText(numbers, numbersText(at, shown, zoomed));
      setText(place, [at.parent ? originText(at.origin) : '', at.package ? visible(at.package) : '', placeText(at)].filter(Boolean).join(' · '));
    },
  };
}

function numbersText(at, { tree, unit, counted }, zoomed) {
  const change = changeOf(at);
  if (change !== null) {
    const share_before = tree.base_total > 0 ? at.base / tree.base_total : 0;
    const share_after = tree.total > 0 ? at.value / tree.total : 0;
    return `${changeMark(change)} ${signed(change, unit)}: A ${amount(at.base, unit)} (${shareOf(at.base, tree.base_total)}), B ${amount(at.value, unit)} (${shareOf(at.value, tree.total)})`
      + ` · share ${signedShare(share_after - share_before)}`;
  }
  const parts = [`${amount(at.value, unit)}, ${shareOf(at.value, tree.total)} of all`];
  if (zoomed.parent && widthOf(zoomed) > 0 && at !== zoomed && at.depth > zoomed.depth) parts.push(`${shareOf(at.value, zoomed.value)} of the zoomed`);
  if (at.parent) parts.push(`own ${amount(at.self, unit)}`);
  parts.push(counted(at.count));
  return parts.join(' · ');
}
