import assert from 'node:assert/strict';
import test from 'node:test';
import * as format from '../../src/http/page/format.js';
import { createEventParser } from '../../src/http/page/event_stream.js';
import { contactSentence } from '../../src/http/page/contact.js';
import { heldSentence, notCounted } from '../../src/http/page/held.js';

test('durations are as in the reports', () => {
  for (const [ms, text] of [[0.4, '0.4 ms'], [10.349, '10.3 ms'], [812, '812 ms'], [4210, '4.21 s'], [192_000, '3.2 min'], [null, '–'], [0, '0.0 ms'], [999.9, '1.00 s']]) {
    assert.equal(format.duration(ms), text);
  }
  assert.equal(format.fine(0.0083), '8.3 µs');
  assert.equal(format.fine(0.553), '553 µs');
  assert.equal(format.fine(1.3), '1.3 ms');
  assert.equal(format.clock(812.5), '0.81 s');
  assert.equal(format.clock(62_430), '1:02.4 min');
  assert.equal(format.clock(3_723_000), '1:02:03 h');
});

test('counts, sizes, shares and changes', () => {
  assert.equal(format.count(1234567), '1\u202f234\u202f567');
  assert.equal(format.plural(1, 'stall'), '1 stall');
  assert.equal(format.bytes(1536), '1.5 KiB');
  assert.equal(format.bytes(3 * 1024 ** 4), '3072.0 GiB');
  assert.equal(format.share(0.591), '59 %');
  assert.equal(format.percent(0.04), '< 0.1 %');
  assert.equal(format.change(-3), '−3');
  assert.equal(format.change(12), '+12');
});

test('unseen characters of a name are shown', () => {
  assert.equal(format.visible('invoice\u202egnp.exe'), 'invoice\\u{202e}gnp.exe');
  assert.equal(format.visible('a\nb\u200b'), 'a\\u{a}b\\u{200b}');
  assert.equal(format.visible('größe 日本'), 'größe 日本');
});

test('long names are cut in the middle', () => {
  assert.equal(format.middleCut('abcdefghij', 5), 'ab…ij');
  assert.equal(format.middleCut('abc', 5), 'abc');
  assert.equal(format.middleCut('x'.repeat(10_000), 80).length, 80);
});

test('events are parsed across pieces', () => {
  const seen = [];
  const take = createEventParser((name, data) => seen.push([name, data]));
  take('event: he');
  take('ld\ndata: {"a":');
  take('1}\n\n: alive\n\nevent: bye\r\ndata:x\r\n\r\n');
  take('data: one\ndata: two\n\n');
  assert.deepEqual(seen, [['held', '{"a":1}'], [null, ' alive'], ['bye', 'x'], ['message', 'one\ntwo']]);
});

test('sentences', () => {
  assert.equal(heldSentence([], { stalls: 3 }), 'Nothing is held up now. 3 stalls so far.');
  assert.equal(heldSentence([], { stalls: 0 }), 'Nothing is held up now. No stall so far.');
  assert.equal(heldSentence([{ holds: 'worker' }], { stalls: 1 }), '1 worker is held up now. 1 stall so far.');
  assert.equal(heldSentence([{ holds: 'block_on' }], { stalls: 0 }), 'No worker is held up now. A long poll of block_on runs. 0 stalls so far.');
  assert.equal(heldSentence([{ holds: 'worker' }], { stalls: 2 }, true), 'At the last contact, 1 worker was held up. 2 stalls so far.');
  assert.equal(notCounted({ block_on: 1, start_up: 2, not_scheduled: 0, pending: 0 }), 'Not counted as stalls: 1 long poll of block_on, 2 long polls at start-up.');
  assert.equal(contactSentence({ state: 'lost', since: 0, sentence: '' }, () => '12:00:00'), 'Contact lost since 12:00:00.');
});
