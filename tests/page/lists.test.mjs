import assert from 'node:assert/strict';
import test from 'node:test';
import { readFileSync } from 'node:fs';
import { evidenceFacts } from '../../src/http/page/evidence.js';
import { listed, timeOf, wordsOf } from '../../src/http/page/stall_filter.js';
import { grown, ofSite, ordered, siteKey } from '../../src/http/page/task_rows.js';

const real = JSON.parse(readFileSync(new URL('answers/stalls.json', import.meta.url)));

test('stalls are filtered by time, cause and words', () => {
  const all = listed(real, {});
  assert.equal(all.listed, real.stalls.length);
  assert.ok(all.groups.every(({ group }, index) => index === 0 || group.total_ms <= all.groups[index - 1].group.total_ms));
  assert.equal(listed(real, { cause: 'sleeping' }).listed, real.stalls.filter((stall) => stall.cause.class === 'sleeping').length);
  assert.equal(listed(real, { search: 'FSYNC handler' }).groups.length, 1);
  assert.equal(listed(real, { search: 'nowhere' }).listed, 0);
  assert.equal(listed(real, { selection: { from: 0, to: 1 } }).listed, 0);
  const { from, to } = timeOf(real.stalls[0]);
  assert.ok(listed(real, { selection: { from: from - 5, to: from + 1 } }).listed >= 1 && to > from);
  assert.equal(listed(real, { counted: 'running' }).listed, real.stalls.filter((stall) => !stall.ended).length);
  assert.deepEqual(wordsOf('  A b '), ['a', 'b']);
});

test('evidence is told only where it says something', () => {
  const facts = evidenceFacts(real.stalls[0].cause.evidence);
  assert.ok(facts.some(({ name, value }) => name === 'waited' && value.includes('fsync')));
  assert.ok(facts.every(({ value }) => value !== '0.0 ms'));
});

test('growth counts from the first count', () => {
  const row = (place, tasks, ended = 0) => ({ runtime: 'main', spawned_at: place, tasks, ended, busy_ms: tasks, polls: 1 });
  const first = grown({ rows: [row('a', 3, 1)] }, null);
  assert.deepEqual([first.rows[0].alive, first.rows[0].growth], [2, null]);
  const second = grown({ rows: [row('a', 5), row('b', 4)] }, first);
  assert.deepEqual(second.rows.map(({ growth }) => growth), [3, 4]);
  assert.deepEqual(ordered(second.rows, 'growth').map(({ spawned_at }) => spawned_at), ['b', 'a']);
  assert.deepEqual(ofSite(second.rows, siteKey(second.rows[0])), [second.rows[0]]);
});
