// A small answer of the service, for the tests of the profile panel.

const FRAMES = [
  { function: 'app::main', origin: 'user', file: 'src/main.rs', line: 3 },
  { function: 'app::load', origin: 'user', file: 'src/load.rs', line: 7 },
  { function: 'app::load', origin: 'user', file: 'src/load.rs', line: 9 },
  { function: 'serde::parse', origin: 'dependency', file: 'serde/de.rs', line: 1 },
  { function: '(parked)', origin: 'runtime' },
];

const LABELS = [
  { thread: 'worker', tid: 1, runtime: 'main', worker: 0, task: 7, task_name: 'GET /', spawn: 'src/http.rs:1', state: 'on-cpu' },
  { thread: 'worker', tid: 2, runtime: 'main', worker: 1, state: 'parked' },
  { thread: 'other', tid: 3 },
];

/** Stacks are innermost first, as in the format. */
const STACKS = [[1, 0], [3, 2, 0], [4], []];

export function sample(ms, stack, labels, weight) {
  return { at_ns: ms === null ? undefined : ms * 1e6, stack, labels, values: [1, weight] };
}

export function answer(samples, more = {}) {
  return {
    format: 'holdup-profile', version: 1, kind: 'cpu', program: 'app', pid: 1, started_at_unix_ns: 1.7e18, duration_ns: 3e9, rate: 99,
    values: [{ name: 'samples', unit: 'count' }, { name: 'cpu', unit: 'nanoseconds' }], drawn: 1,
    quality: { lost: 0, truncated: 0, frames: 0, nameless: 0, notes: ['a note'] },
    mappings: [], frames: FRAMES, stacks: STACKS, labels: LABELS, samples, slices: [], ...more,
  };
}
