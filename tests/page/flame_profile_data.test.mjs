import assert from 'node:assert/strict';
import test from 'node:test';
import { parseProfile } from '../../src/http/page/profile_data.js';
import { answer, sample } from './flame_answer.mjs';

test('samples are columns, and frames of one function are one function', () => {
  const recording = parseProfile(answer([sample(10, 0, 0, 100), sample(20, 1, 1, 50)]));
  assert.equal(recording.length, 2);
  assert.deepEqual([...recording.times], [10, 20]);
  assert.deepEqual([...recording.weights], [100, 50]);
  assert.equal(recording.functions.length, 4);
  assert.deepEqual([...recording.stacks[1]], [0, 2, 3], 'outermost first');
  assert.deepEqual([recording.unit, recording.counted, recording.duration, recording.has_times], ['nanoseconds', 'samples', 3000, true]);
  assert.deepEqual([...recording.idle], [0, 0, 1, 0]);
});

test('samples without a time stay without one', () => {
  const recording = parseProfile(answer([sample(null, 0, 0, 1)]));
  assert.equal(recording.has_times, false);
  assert.ok(Number.isNaN(recording.times[0]));
});

test('other formats are refused with a sentence', () => {
  for (const other of [null, {}, [], { format: 'holdup-profile', version: 2 }]) {
    assert.throws(() => parseProfile(other), /not a profile in version 1/);
  }
});

test('indexes out of range do no harm', () => {
  const recording = parseProfile(answer([sample(1, 99, 0, 1), sample(1, -1, 0, 1), sample(1, 0, 99, -5), { stack: 0 }, null], { stacks: [[99, 0, -1]], frames: undefined }));
  assert.equal(recording.length, 2);
  assert.deepEqual([...recording.label_of], [-1, -1]);
  assert.deepEqual([...recording.weights], [0, 0]);
  assert.deepEqual([...recording.stacks[0]], []);
});

test('too many samples are thinned, and the sum stays', () => {
  const samples = Array.from({ length: 1001 }, (_, index) => sample(index, 0, 0, 2));
  const recording = parseProfile(answer(samples), 100);
  assert.ok(recording.length <= 100, String(recording.length));
  assert.equal(recording.length + recording.left_out, 1001);
  assert.ok(Math.abs(recording.weights.reduce((a, b) => a + b) - 2002) < 1e-6);
});
