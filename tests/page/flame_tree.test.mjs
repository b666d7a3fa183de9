import assert from 'node:assert/strict';
import test from 'node:test';
import { functionsBelow } from '../../src/http/page/flame_functions.js';
import { buildTree, changeOf, differenceTree, findNode, pathTo, preorder, widthOf } from '../../src/http/page/flame_tree.js';
import { parseProfile } from '../../src/http/page/profile_data.js';
import { answer, sample } from './flame_answer.mjs';

const recording = parseProfile(answer([sample(10, 0, 0, 100), sample(500, 1, 0, 50), sample(1500, 2, 1, 7), sample(1600, 3, 1, 1)]));
const lines = (root) => preorder(root).map((at) => `${' '.repeat(at.depth)}${at.name} ${at.value} ${at.self}`);

test('stacks with equal callers are merged, whatever their lines', () => {
  const { root, total } = buildTree(recording, {});
  assert.equal(total, 158);
  assert.deepEqual(lines(root), ['all 158 1', ' app::main 150 0', '  app::load 150 100', '   serde::parse 50 50', ' (parked) 7 7']);
  assert.deepEqual(root.children[0].children[0].lines, [7, 9]);
  assert.equal(root.size, 5);
});

test('an inverted tree begins with the innermost functions', () => {
  assert.deepEqual(lines(buildTree(recording, {}, { invert: true }).root), [
    'all 158 0', ' app::load 100 100', '  app::main 100 0', ' serde::parse 50 50', '  app::load 50 0', '   app::main 50 0', ' (parked) 7 7']);
});

test('keys find nodes again in another tree of the same code', () => {
  const [one, two] = [buildTree(recording, {}), buildTree(recording, { from: 400, to: 600 })];
  const at = preorder(one.root).find((node) => node.name === 'serde::parse');
  assert.deepEqual(pathTo(findNode(two.root, at.key)).map((node) => node.name), ['app::main', 'app::load', 'serde::parse']);
  assert.equal(findNode(two.root, 'nonsense'), null);
  assert.equal(findNode(two.root, ''), null);
  assert.equal(new Set(preorder(one.root).map((node) => node.key)).size, 5);
});

test('a difference has the nodes of both windows', () => {
  const [after, before] = [buildTree(recording, { from: 0, to: 1000 }), buildTree(recording, { from: 400, to: 3000 })];
  const { root, base_total } = differenceTree(after, before, 2);
  const changes = Object.fromEntries(preorder(root).map((at) => [at.name, changeOf(at)]));
  assert.deepEqual(changes, { all: 34, 'app::main': 50, 'app::load': 50, 'serde::parse': -50, '(parked)': -14 });
  assert.equal(base_total, 116);
  for (const at of preorder(root)) {
    const sum = at.children.reduce((all, child) => all + widthOf(child), 0);
    assert.ok(sum <= widthOf(at) + 1e-9, `${at.name} is as wide as its callees`);
  }
});

test('a full tree cuts rare stacks and says so', () => {
  const tree = buildTree(recording, {}, { most: 3 });
  assert.equal(tree.nodes, 3);
  assert.equal(tree.cut_stacks, 2);
  assert.equal(tree.root.value, 158);
});

test('deep stacks need no deep recursion', () => {
  const frames = Array.from({ length: 50_000 }, (_, index) => ({ function: `f${index}`, origin: 'user' }));
  const deep = parseProfile(answer([sample(0, 0, 0, 1)], { frames, stacks: [frames.map((_, index) => index)] }));
  assert.equal(buildTree(deep, {}).root.size, 50_001);
});

test('a recursive function counts once in its own total', () => {
  const again = parseProfile(answer([sample(0, 0, 0, 10)], { frames: [{ function: 'f', origin: 'user' }, { function: 'g', origin: 'user' }], stacks: [[0, 1, 0]] }));
  const { rows } = functionsBelow(buildTree(again, {}).root);
  assert.deepEqual(rows.map(({ name, self, total }) => [name, self, total]), [['f', 10, 10], ['g', 0, 10]]);
  const inverted = functionsBelow(buildTree(again, {}, { invert: true }).root);
  assert.deepEqual(inverted.rows.map(({ name, self, total }) => [name, self, total]), [['f', 10, 10], ['g', 0, 10]]);
});

test('the table of functions has a limit', () => {
  const { rows, left_out } = functionsBelow(buildTree(recording, {}).root, 1);
  assert.deepEqual([rows.length, rows[0].name, left_out], [1, 'app::load', 3]);
});
