import assert from 'node:assert/strict';
import test from 'node:test';
import { BINS, binAt, binsOf, binsOfRange, rangeOfBins } from '../../src/http/page/heatmap_bins.js';
import { parseProfile } from '../../src/http/page/profile_data.js';
import { createShelf } from '../../src/http/page/recording_shelf.js';
import { answer, sample } from './flame_answer.mjs';

test('a bin has the samples of 50 ms, whatever time range is selected', () => {
  const recording = parseProfile(answer([sample(0, 0, 0, 1), sample(49.9, 0, 0, 2), sample(50, 0, 1, 4), sample(2990, 0, 0, 8), sample(null, 0, 0, 16)]));
  const bins = binsOf(recording, { from: 0, to: 10 });
  assert.equal(bins.seconds, 3);
  assert.deepEqual([bins.weights[0], bins.weights[1], bins.weights[59]], [3, 4, 8]);
  assert.equal(bins.most, 8);
  assert.equal(binsOf(recording, { thread: 'worker 2' }).weights[0], 0);
});

test('ranges and bins are the same', () => {
  const bins = { weights: new Float64Array(3 * BINS) };
  for (const [one, other] of [[0, 0], [0, 59], [25, 13], [7, 8]]) {
    assert.deepEqual(binsOfRange(rangeOfBins(one, other), bins), { first: Math.min(one, other), last: Math.max(one, other) });
  }
  assert.deepEqual(binsOfRange({ from: 2900, to: 99_000 }, bins), { first: 58, last: 59 });
  assert.equal(binsOfRange(null, bins), null);
});

test('the second begins at the bottom, and places outside are moved inside', () => {
  const box = { width: 300, height: 140, seconds: 3 };
  assert.equal(binAt(0, 139, box), 0);
  assert.equal(binAt(0, 0, box), 19);
  assert.equal(binAt(150, 139, box), 20);
  assert.equal(binAt(-9, 999, box), 0);
  assert.equal(binAt(999, -9, box), 59);
});

test('the shelf drops the oldest recordings, but not the pinned one', () => {
  const shelf = createShelf({ most_recordings: 2, most_samples: 100 });
  const [a, b, c, d] = [10, 20, 30, 95].map((length) => ({ length }));
  assert.deepEqual(shelf.add(a), []);
  assert.deepEqual(shelf.add(b), []);
  assert.deepEqual(shelf.add(c, a), [b]);
  assert.deepEqual(shelf.add(d, a), [c, a], 'too many samples: even the pinned one goes');
  assert.deepEqual(shelf.all().map((recording) => recording.number), [4]);
  shelf.remove(4);
  assert.equal(shelf.get(4), null);
});
