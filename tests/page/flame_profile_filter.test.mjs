import assert from 'node:assert/strict';
import test from 'node:test';
import { parseProfile } from '../../src/http/page/profile_data.js';
import { filterOptions, idleWeight, lengthOfView, optionText, weightsOfStacks } from '../../src/http/page/profile_filter.js';
import { answer, sample } from './flame_answer.mjs';

const recording = parseProfile(answer([sample(10, 0, 0, 100), sample(500, 1, 0, 50), sample(1500, 2, 1, 7), sample(2500, 1, 2, 3)]));
const total = (filter) => weightsOfStacks(recording, filter).total;

test('a filter chooses by label and time', () => {
  assert.equal(total({}), 160);
  assert.equal(total({ runtime: 'main' }), 157);
  assert.equal(total({ thread: 'worker 1' }), 150);
  assert.equal(total({ task: 'GET / — src/http.rs:1' }), 150);
  assert.equal(total({ state: '!parked' }), 153);
  assert.equal(total({ from: 500, to: 1500 }), 50, 'the end is exclusive');
  assert.equal(total({ runtime: '–' }), 3);
  assert.equal(total({ runtime: 'gone' }), 0);
  assert.equal(total({ without_idle: true }), 153);
  assert.equal(idleWeight(recording, { without_idle: true }), 7);
});

test('options are sorted by weight, and their number has a limit', () => {
  const { thread, runtime } = filterOptions(recording);
  assert.deepEqual(thread.options, [{ value: 'worker 1', weight: 150 }, { value: 'worker 2', weight: 7 }, { value: 'other 3', weight: 3 }]);
  assert.equal(optionText('runtime', runtime.options[1].value), 'no runtime');
  const labels = Array.from({ length: 300 }, (_, index) => ({ thread: `t${index}` }));
  const many = filterOptions(parseProfile(answer(labels.map((_, index) => sample(0, 0, index, 1)), { labels })));
  assert.deepEqual([many.thread.options.length, many.thread.left_out], [200, 100]);
});

test('the length of a view is that of its range', () => {
  assert.equal(lengthOfView(recording, {}), 3000);
  assert.equal(lengthOfView(recording, { from: 500, to: 1500 }), 1000);
  assert.equal(lengthOfView(recording, { from: 2500, to: 9000 }), 500);
});
