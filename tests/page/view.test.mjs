import assert from 'node:assert/strict';
import test from 'node:test';
import { inside, overlaps, panned, stateOf, ticks, visibleWindow, zoomed } from '../../src/http/page/time_window.js';
import { createState, parse, print } from '../../src/http/page/view_state.js';

test('the state survives the hash', () => {
  const state = parse('#from=1000&to=2000.5&search=a%20b%26c&theme=dark&span=x&BAD=1&end=');
  assert.deepEqual([...state], [['from', 1000], ['to', 2000.5], ['search', 'a b&c'], ['theme', 'dark']]);
  assert.equal(print(state), '#from=1000&search=a+b%26c&theme=dark&to=2000.5');
  assert.deepEqual(parse(print(state)), new Map([...state].sort()));
  assert.equal(print(new Map()), '');
  assert.equal(parse(`#search=${'x'.repeat(3000)}`).size, 0);
});

test('listeners hear of their keys only, and stop', () => {
  const events = new Map();
  const window = { location: { hash: '#a=1', pathname: '/', search: '' }, history: { replaceState() {} }, addEventListener: (name, listener) => events.set(name, listener), setTimeout: () => 1 };
  const state = createState(window);
  let heard = 0;
  const stop = state.subscribe(['a', 'b'], () => { heard += 1; });
  state.set({ a: '2', b: '3' });
  state.set({ c: '1' });
  state.set({ a: '2' });
  assert.equal(heard, 1);
  window.location.hash = '#a=7';
  events.get('hashchange')();
  assert.deepEqual([heard, state.get('a'), state.get('b')], [2, '7', null]);
  stop();
  state.set({ a: null });
  assert.equal(heard, 2);
});

test('windows zoom, pan and stay inside', () => {
  const extent = { from: 0, to: 100_000 };
  assert.deepEqual(visibleWindow(extent, null, null), extent);
  assert.deepEqual(visibleWindow(extent, 10_000, null), { from: 90_000, to: 100_000 });
  assert.deepEqual(visibleWindow(extent, 10_000, 5), { from: 0, to: 10_000 });
  assert.deepEqual(zoomed(extent, 0.5, 25_000, extent), { from: 12_500, to: 62_500 });
  assert.deepEqual(zoomed(extent, 4, 25_000, extent), extent);
  const closest = zoomed({ from: 0, to: 1500 }, 0.1, 100, extent);
  assert.equal(Math.round(closest.to - closest.from), 1000);
  assert.deepEqual(panned({ from: 10, to: 20 }, -50, extent), { from: 0, to: 10 });
  assert.deepEqual(inside({ from: 99_000, to: 109_000 }, extent), { from: 90_000, to: 100_000 });
  assert.deepEqual(stateOf(extent, extent), { span: null, end: null });
  assert.deepEqual(stateOf({ from: 90_000, to: 100_000 }, extent), { span: 10_000, end: null });
  assert.deepEqual(stateOf({ from: 0, to: 10_000 }, extent), { span: 10_000, end: 10_000 });
  assert.ok(overlaps({ from: 0, to: 2 }, { from: 2, to: 3 }) && !overlaps({ from: 0, to: 1 }, { from: 2, to: 3 }));
  assert.deepEqual(ticks({ from: 500, to: 300_500 }, 6), { step: 60_000, all: [60_000, 120_000, 180_000, 240_000, 300_000] });
  assert.ok(ticks({ from: 0, to: 1e9 }, 3).all.length < 4000);
});
