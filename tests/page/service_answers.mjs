// Answers of the service of the tests. Stalls, tasks and the self-check are of a real run; scenarios change them.

import { readFileSync } from 'node:fs';
import { HOSTILE } from './hostile_names.mjs';
import { answer, sample } from './flame_answer.mjs';

const saved = (name) => JSON.parse(readFileSync(new URL(`answers/${name}.json`, import.meta.url)));

export const selfCheck = () => saved('self_check');

/** The answer of `/debug/holdup/stalls`, with the sums that the service makes. */
export function stallsOf(scenario) {
  const real = saved('stalls');
  const counters = Object.fromEntries(Object.keys(real.counters).map((name) => [name, 0]));
  if (scenario === 'quiet') return { stalls: [], groups: [], suppressed: 0, counters, notes: [] };
  const now = Date.now();
  const wanted = scenario === 'many' ? 1000 : real.stalls.length;
  const stalls = Array.from({ length: wanted }, (_, index) => {
    const stall = structuredClone(real.stalls[index % real.stalls.length]);
    stall.id = index + 1;
    stall.ended = true;
    stall.began_unix_ms = now - 5000 - (index * 270_000) / wanted;
    stall.first_noticed_unix_ms = Math.round(stall.began_unix_ms - (stall.count > 1 ? 2000 : 0));
    stall.noticed_unix_ms = Math.round(stall.began_unix_ms + 15);
    if (scenario === 'many') stall.culprit.function = stall.culprit.function.replace('faults::', `faults::part_${Math.floor(index / 20)}::`);
    if (scenario === 'hostile') makeHostile(stall, HOSTILE[index % HOSTILE.length]);
    else if (index % 3 === 0) addVictims(stall);
    return stall;
  });
  counters.stalls = counters.noticed = stalls.reduce((sum, stall) => sum + stall.count, 0);
  counters.not_scheduled = 2;
  if (scenario === 'many') Object.assign(counters, { suppressed: 312, stacks_missed: 4, forgotten: 120 });
  const notes = scenario === 'many' ? ['reports wait for the terminal, which does not read'] : [];
  return { stalls, groups: groupsOf(stalls), suppressed: counters.suppressed, counters, notes };
}

function makeHostile(stall, name) {
  Object.assign(stall.culprit, { function: name, file: `src/${name}`, call: name });
  Object.assign(stall.cause, { title: `${stall.cause.title} ${name.slice(0, 200)}`, advice: HOSTILE[0] });
  stall.task.name = name;
  stall.thread = HOSTILE[1];
  stall.cause.evidence.waits.push({ place: `read on ${name}`, ms: 3 });
  for (const frame of stall.stack.slice(0, 3)) Object.assign(frame, { function: name, file: name });
  stall.waiting.victims.sentence = `1 task: ${name.slice(0, 100)}`;
  stall.waiting.victims.tasks = [{ task: { id: 3, name, spawned_at: name }, waited: { at_least_ms: 3, at_most_ms: 9 } }];
}

function addVictims(stall) {
  stall.waiting.victims.tasks = [
    { task: { id: 31, name: 'reader', spawned_at: 'src/readers.rs:46' }, waited: { at_least_ms: 12, at_most_ms: 80 } },
    { task: { id: 37, name: null, spawned_at: 'src/kafka/producer.rs:88' }, waited: { at_least_ms: 0, at_most_ms: 22 } },
  ];
  stall.waiting.victims.sentence = '2 tasks for at most 80 ms, 102 ms in all: "reader", spawned at src/kafka/producer.rs:88';
}

function groupsOf(stalls) {
  const groups = new Map();
  const total = stalls.reduce((sum, stall) => sum + stall.total_ms, 0);
  for (const stall of stalls) {
    const name = stall.culprit.function;
    const group = groups.get(name) ?? {
      function: name, counted_as: 'stall', count: 0, running: 0, total_ms: 0, share: 0, longest_ms: 0,
      first_noticed_unix_ms: stall.first_noticed_unix_ms, last_noticed_unix_ms: 0, parts: [], stalls: [],
    };
    groups.set(name, group);
    group.count += stall.count;
    group.total_ms += stall.total_ms;
    group.share = group.total_ms / total;
    group.longest_ms = Math.max(group.longest_ms, stall.longest_ms);
    group.first_noticed_unix_ms = Math.min(group.first_noticed_unix_ms, stall.first_noticed_unix_ms);
    group.last_noticed_unix_ms = Math.max(group.last_noticed_unix_ms, stall.noticed_unix_ms);
    group.stalls.push(stall.id);
    if (group.parts.length >= 5) continue;
    const { cause: { class: cause, objects, title }, count, total_ms, longest_ms } = stall;
    group.parts.push({ location: `${stall.culprit.file}:${stall.culprit.line}`, cause, objects, title, count, total_ms, longest_ms });
  }
  return [...groups.values()].sort((a, b) => b.total_ms - a.total_ms);
}

/** What is held up after `age` ms. */
export function heldNow(scenario, workers, age) {
  const one = (id, worker, changes = {}) => ({
    id, runtime: 'main', worker, thread: `main-worker-${worker}`, tid: 4242 + worker, held_ms: age + 400 * worker, holds: 'worker',
    culprit: 'news_pipeline::faults::sleep::sleep_in_handler', location: 'examples/news_pipeline/src/faults/sleep.rs:31',
    cause: 'sleeping', class: 'sleeping', task: 'task 32 "GET /latest-news", spawned at examples/news_pipeline/src/api/connections.rs:71',
    waiting: '3 tasks wait in its queue; another worker waits for I/O and timers',
    advice: 'std::thread::sleep stops the worker. Await tokio::time::sleep instead.', ...changes,
  });
  const [markup, reversed, long] = HOSTILE;
  switch (scenario) {
    case 'one': return [one(1, 1)];
    case 'all-stuck': return Array.from({ length: workers }, (_, worker) => one(worker + 1, worker));
    case 'hostile': return [
      one(1, 0, { culprit: markup, location: markup, cause: markup, task: long, waiting: markup, thread: reversed, runtime: markup }),
      one(2, 1, { culprit: long, location: null, holds: 'block_on', worker: null }),
      one(3, 2, { culprit: null, location: null, cause: 'computing' }),
    ];
    default: return [];
  }
}

let counts = 0;

/** The answer of `/debug/holdup/tasks`. Each one has some more tasks and polls. */
export function tasksBy(by, scenario) {
  counts += 1;
  const counted = saved(`tasks_by_${by}`);
  if (scenario === 'quiet') counted.rows = [];
  counted.rows.forEach((row, index) => {
    if (scenario === 'hostile' && index < HOSTILE.length) Object.assign(row, { name: HOSTILE[index], spawned_at: HOSTILE[index] });
    row.tasks += counts % 3;
    row.polls += counts;
    Object.assign(row, { delay_mean_ms: row.busy_ms / 100, delay_max_ms: row.max_ms });
  });
  return counted;
}

/** Like the service, heap modes have bytes and no times. */
const HEAP = new Set(['heap', 'peak', 'allocs', 'leaks', 'temporary']);

const FUNCTIONS = [
  ['news_pipeline::main', 'user'], ['tokio::runtime::Runtime::block_on', 'runtime'], ['news_pipeline::api::latest', 'user'],
  ['serde_json::to_string', 'dependency'], ['core::ptr::drop_in_place', 'std'], ['alloc::vec::Vec::drop', 'std'], ['(parked)', 'runtime'],
];

/** Innermost first: a deep stack, the same without its end, one with another end, and a parked worker. */
const STACKS = [[5, 4, 3, 2, 1, 0], [3, 2, 1, 0], [4, 2, 1, 0], [6]];

/** The stacks of samples, again and again. */
const STACK_OF = [0, 1, 0, 2, 0, 1, 0, 3];

/** The answer of `/debug/holdup/profile`: 300 samples in 3 s, however short the recording was. */
export function profileOf(mode, started_at) {
  const is_heap = HEAP.has(mode);
  const samples = Array.from({ length: 300 }, (_, index) =>
    sample(is_heap ? null : index * 10, STACK_OF[index % STACK_OF.length], index % 3, is_heap ? 4096 : 1e7));
  return answer(samples, {
    kind: mode, program: 'news_pipeline', rate: is_heap ? null : 99, started_at_unix_ns: started_at * 1e6,
    values: is_heap ? [{ name: 'objects', unit: 'count' }, { name: 'bytes', unit: 'bytes' }] : [{ name: 'samples', unit: 'count' }, { name: mode, unit: 'nanoseconds' }],
    frames: FUNCTIONS.map(([name, origin], index) => ({ function: name, origin, file: `src/file_${index}.rs`, line: 10 + index })),
    stacks: STACKS,
  });
}
