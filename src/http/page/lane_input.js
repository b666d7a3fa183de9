// Pointer, wheel and keys of the lanes and of the minimap.

import { inside, scale } from './time_window.js';
import { laneHeight } from './lane_drawing.js';

/** A shorter drag is a click. */
const SHORTEST_DRAG = 4;

/** A wheel that scrolls the page keeps scrolling it when the lanes come under the pointer. */
const SCROLL_PAUSE = 250;

export function listenToLanes({ scroll, axis, app, actions, geometry, lanes }) {
  const xOf = (event) => event.clientX - scroll.getBoundingClientRect().left;
  const timeAt = (x) => {
    const { width, left } = geometry();
    return scale(app.visible(), left, width - left).time(Math.min(Math.max(x, left), width));
  };
  let drag = null;

  for (const node of [scroll, axis]) {
    node.addEventListener('pointerdown', (event) => {
      const x = xOf(event);
      // The labels and the scroll bar select nothing.
      if (event.button !== 0 || x < geometry().left || x > geometry().width) return;
      drag = { x, time: timeAt(x), moved: false };
      node.setPointerCapture(event.pointerId);
      scroll.focus({ preventScroll: true });
    });
    node.addEventListener('pointermove', (event) => {
      const x = xOf(event);
      if (drag && (drag.moved || Math.abs(x - drag.x) >= SHORTEST_DRAG)) {
        drag.moved = true;
        actions.preview(between(drag.time, timeAt(x)));
      }
      const y = event.clientY - scroll.getBoundingClientRect().top + scroll.scrollTop;
      const is_inside = x >= geometry().left && x <= geometry().width && node === scroll;
      actions.point(is_inside ? { x, lane: Math.floor(y / laneHeight(lanes().length)) } : null);
    });
    node.addEventListener('pointerup', (event) => {
      if (drag?.moved) actions.select(between(drag.time, timeAt(xOf(event))));
      drag = null;
    });
    node.addEventListener('pointercancel', () => {
      if (drag?.moved) actions.preview(null);
      drag = null;
    });
    node.addEventListener('pointerleave', () => actions.point(null));
  }

  let scrolled_at = -Infinity;
  window.addEventListener('scroll', () => { scrolled_at = performance.now(); }, { passive: true });
  scroll.addEventListener('wheel', (event) => {
    const x = xOf(event);
    // Over the labels, the wheel scrolls as everywhere else.
    if (x < geometry().left) return;
    if (!event.ctrlKey && performance.now() - scrolled_at < SCROLL_PAUSE) return;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      actions.pan((event.deltaX || event.deltaY) / 1000);
      return;
    }
    // Nothing is left to zoom out: the page may scroll on.
    const is_whole = app.state.get('span') === null && app.state.get('end') === null;
    if (event.deltaY > 0 && is_whole && !event.ctrlKey) return;
    event.preventDefault();
    actions.zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) * 0.004), timeAt(x));
  }, { passive: false });

  scroll.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const work = {
      ArrowLeft: () => actions.pan(-0.2),
      ArrowRight: () => actions.pan(0.2),
      '+': () => actions.zoom(0.5),
      '=': () => actions.zoom(0.5),
      '-': () => actions.zoom(2),
      '−': () => actions.zoom(2),
      Home: actions.whole,
      Enter: actions.selectVisible,
      Escape: actions.clear,
    }[event.key];
    if (!work) return;
    event.preventDefault();
    work();
  });
}

/** A drag inside the shown window moves it; a drag outside, or when all is shown, sets another one. */
export function listenToMinimap({ minimap, app, actions, geometry }) {
  let drag = null;
  const timeAt = (event) => {
    const { width, left } = geometry();
    const x = event.clientX - minimap.getBoundingClientRect().left;
    return scale(app.store.timeline.extent(), left, width - left).time(Math.min(Math.max(x, left), width));
  };
  minimap.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    const [time, view, extent] = [timeAt(event), app.visible(), app.store.timeline.extent()];
    const is_whole = view.to - view.from >= extent.to - extent.from;
    drag = { time, view, moves: !is_whole && time >= view.from && time <= view.to };
    minimap.setPointerCapture(event.pointerId);
  });
  minimap.addEventListener('pointermove', (event) => {
    if (!drag) return;
    const by = timeAt(event) - drag.time;
    if (drag.moves) actions.show(inside({ from: drag.view.from + by, to: drag.view.to + by }, app.store.timeline.extent()));
    else if (Math.abs(by) > 1000) actions.show(between(drag.time, drag.time + by));
  });
  const stop = () => { drag = null; };
  minimap.addEventListener('pointerup', stop);
  minimap.addEventListener('pointercancel', stop);
}

function between(a, b) {
  return { from: Math.min(a, b), to: Math.max(a, b) };
}
