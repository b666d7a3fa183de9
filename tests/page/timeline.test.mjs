import assert from 'node:assert/strict';
import test from 'node:test';
import { createNumberHistory, MOST_NUMBERS } from '../../src/http/page/number_history.js';
import { createTimeline, MOST_BINS, summary } from '../../src/http/page/timeline.js';

const lane = (key, first, values, worker = 0) => ({
  key, runtime: 'main', worker, thread: 't', tid: 1, first,
  polling: values, between: values.map(() => 0), stalled: values.map(() => 0), task: values.map(() => 0),
});
const answer = (first, next, lanes) => ({ interval_ms: 250, origin_unix_ms: 1000, first, next, tasks: ['a'], lanes });

test('the timeline continues, overlaps, and notices a gap', () => {
  const timeline = createTimeline();
  assert.equal(timeline.take(answer(0, 4, [lane(1, 0, [1, 2, 3, 4])]), true), true);
  assert.equal(timeline.take(answer(4, 6, [lane(1, 4, [5, 6])]), false), true);
  assert.equal(timeline.take(answer(5, 7, [lane(1, 5, [60, 70])]), false), true);
  assert.deepEqual(timeline.lanes[0].polling, [1, 2, 3, 4, 5, 60, 70]);
  assert.equal(timeline.take(answer(9, 10, [lane(1, 9, [9])]), false), false);
  assert.equal(timeline.take({ ...answer(7, 8, []), origin_unix_ms: 2 }, false), false);
  assert.deepEqual(timeline.extent(), { from: 2750 - 10_000, to: 2750 });
});

test('a day of bins stays bounded, and lanes that ended go', () => {
  const timeline = createTimeline();
  timeline.take(answer(0, 4, [lane(1, 0, [1, 1, 1, 1]), lane(2, 0, [1, 1, 1, 1], 1)]), true);
  for (let bin = 4; bin < 4 * 86_400; bin += 4) timeline.take(answer(bin, bin + 4, [lane(1, bin, [1, 2, 3, 4])]), false);
  assert.equal(timeline.lanes.length, 1);
  for (const field of ['polling', 'between', 'stalled', 'task']) assert.equal(timeline.lanes[0][field].length, MOST_BINS);
  assert.equal(timeline.next - timeline.first, MOST_BINS);
  assert.equal(timeline.lanes[0].first, timeline.first);
});

test('workers that come and go all the time stay bounded', () => {
  const timeline = createTimeline();
  timeline.take(answer(0, 4, []), true);
  for (let bin = 4; bin < 8000; bin += 4) timeline.take(answer(bin, bin + 4, [lane(bin, bin, [1, 2, 3, 4]), lane(bin + 1, bin, [1, 2, 3, 4]), lane(bin + 2, bin, [1])]), false);
  assert.ok(timeline.lanes.length <= 512);
});

test('a lane that was away has zeros between', () => {
  const timeline = createTimeline();
  timeline.take(answer(0, 2, [lane(1, 0, [1, 2])]), true);
  timeline.take(answer(2, 4, []), false);
  timeline.take(answer(4, 5, [lane(1, 4, [9])]), false);
  assert.deepEqual(timeline.lanes[0].polling, [1, 2, 0, 0, 9]);
});

test('a summary gives shares of the bins', () => {
  const sum = summary({ ...lane(1, 10, [100, 50, 0]), stalled: [100, 0, 0], between: [0, 10, 0] }, 10, 12);
  assert.deepEqual([sum.bins, sum.polling, sum.stalled, sum.parked], [2, 75, 50, 20]);
  assert.equal(summary(lane(1, 10, [1]), 50, 60).parked, null);
});

test('numbers of a day stay bounded and aligned', () => {
  const history = createNumberHistory();
  const one = (second, name = 'main') => ({
    unix_ms: [second * 1000], memory_bytes: [second], cpu_percent: [1], holdup_cpu_percent: [0],
    runtimes: [{
      runtime: name, workers: 2, first: 0, alive_tasks: [second], global_queue: [0], local_queue: null, blocking_threads: null,
      blocking_queue: null, busy_percent: [5], longest_poll_ms: [1],
    }],
  });
  history.take(one(1), true);
  for (let second = 2; second < 86_400; second += 1) history.take(one(second, second > 86_300 ? 'other' : 'main'), false);
  history.take(one(86_399, 'other'), false);
  assert.equal(history.unix_ms.length, MOST_NUMBERS);
  for (const runtime of history.runtimes) assert.equal(runtime.alive_tasks.length, MOST_NUMBERS);
  assert.deepEqual(history.runtimes.map(({ runtime }) => runtime), ['main', 'other']);
  assert.equal(history.runtimes[0].alive_tasks.at(-1), null);
  assert.equal(history.runtimes[1].alive_tasks.at(-1), 86_399);
  assert.equal(history.runtimes[0].local_queue.every((value) => value === null), true);
});

test('the first numbers of a runtime may begin later', () => {
  const history = createNumberHistory();
  history.take({ unix_ms: [1, 2, 3], memory_bytes: [1, 2, 3], cpu_percent: [], holdup_cpu_percent: [], runtimes: [{ runtime: 'late', workers: 1, first: 2, alive_tasks: [7], busy_percent: [1] }] }, true);
  assert.deepEqual(history.runtimes[0].alive_tasks, [null, null, 7]);
});
