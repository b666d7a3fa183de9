import assert from 'node:assert/strict';
import test from 'node:test';
import { layout, search } from '../../src/http/page/flame_layout.js';
import { fittedName } from '../../src/http/page/flame_name.js';
import { buildTree, preorder } from '../../src/http/page/flame_tree.js';
import { parseProfile } from '../../src/http/page/profile_data.js';
import { answer, sample } from './flame_answer.mjs';

const tree = buildTree(parseProfile(answer([sample(10, 0, 0, 100), sample(500, 1, 0, 50), sample(1500, 2, 1, 50)])), {});

test('boxes are as wide as their share, and callers come first', () => {
  const { boxes, levels, left_out } = layout(tree.root, 1000);
  assert.deepEqual(boxes.map((box) => [box.node.name, box.level, box.left, box.width]), [
    ['all', 0, 0, 1], ['app::main', 1, 0, 0.75], ['app::load', 2, 0, 0.75], ['serde::parse', 3, 0, 0.25], ['(parked)', 1, 0.75, 0.25]]);
  assert.deepEqual([levels, left_out], [4, 0]);
  assert.deepEqual(boxes.map((box) => `${box.place}/${box.places}`), ['1/1', '1/2', '1/1', '1/1', '2/2']);
});

test('a zoomed node is as wide as the whole, with its callers above', () => {
  const at = preorder(tree.root).find((node) => node.name === 'app::load');
  const { boxes } = layout(at, 1000);
  assert.deepEqual(boxes.map((box) => [box.node.name, box.level, box.width, box.is_caller]), [
    ['all', 0, 1, true], ['app::main', 1, 1, true], ['app::load', 2, 1, false], ['serde::parse', 3, 50 / 150, false]]);
});

test('boxes that are too narrow or too many are left out and counted', () => {
  assert.equal(layout(tree.root, 1000, { least: 300 }).left_out, 2);
  for (const most of [1, 2, 3, 4]) {
    const { boxes, left_out } = layout(tree.root, 1000, { most });
    assert.deepEqual([boxes.length, left_out], [most, 5 - most]);
    const drawn = new Set(boxes.map((box) => box.node));
    for (const box of boxes) assert.ok(!box.node.parent || drawn.has(box.node.parent), 'no box loses its caller');
  }
});

test('a search finds parts of names, and its share counts a match inside a match once', () => {
  assert.deepEqual(search(tree.root, 'APP::').nodes.map((at) => at.name), ['app::main', 'app::load']);
  assert.equal(search(tree.root, 'APP::').share, 0.75);
  assert.equal(search(tree.root, 'parse').share, 0.25);
  assert.deepEqual(search(tree.root, ' '), { nodes: [], share: 0 });
  assert.deepEqual(search(tree.root, '(.*'), { nodes: [], share: 0 });
});

test('a name that does not fit is cut in the middle', () => {
  const of_trait = '<hyper::server::Connection as core::future::future::Future>::poll';
  for (const [name, room, shown] of [
    ['news::ingest::feed::parse', 25, 'news::ingest::feed::parse'],
    ['news::ingest::feed::parse', 20, 'news::in…feed::parse'],
    ['news::ingest::feed::parse', 10, 'news…parse'],
    ['news::ingest::feed::parse', 8, 'parse'],
    ['news::ingest::feed::parse', 4, 'p…se'],
    ['news::ingest::feed::parse', 2, ''],
    [of_trait, 40, 'hyper::server::Connection::poll'],
    ['<<T as A>::B as C>::method', 12, 'T::B::method'],
    ['<&mut alloc::boxed::Box as core::Future>::poll', 24, 'alloc::boxed::Box::poll'],
    ['news::main::{closure}', 16, 'main::{closure}'],
    ['news::main::{closure}', 20, 'news…main::{closure}'],
    ['clock_nanosleep', 8, 'cl…sleep'],
  ]) {
    assert.equal(fittedName(name, room), shown, `${name} in ${room}`);
  }
});

test('every name and width has a text that fits', () => {
  for (const name of ['', '<', '>', '::', '<a as ', 'a->b::c', '<>::', 'é::ü', '{{', '<a>b::c', '}}::{{', '😀😀😀😀::😀😀😀']) {
    for (let room = 0; room < 14; room++) assert.ok(fittedName(name, room).length <= room || name.length <= room, `${name} in ${room}`);
  }
});
