// A recording from the service's answer in holdup's JSON: samples in typed arrays, so a long recording stays small.
//
// The format of the Firefox Profiler has neither runtimes nor files, and invents times for samples that have none.

/** More samples are thinned out. */
export const MOST_SAMPLES = 200_000;

/** What the service calls a thread that waits for work. */
const IDLE = new Set(['(parked)', '(waiting in block_on)']);

const ORIGINS = new Set(['user', 'std', 'runtime', 'dependency', 'system']);

/**
 * The recording of an answer of `/debug/holdup/profile?format=json`.
 *
 * `functions[i]`: { name, origin, package, file }. `frames` are indexes of functions, `lines` their lines (0: unknown).
 * `stacks[i]`: indexes of frames, outermost first; `idle[i]`: 1 for a thread that waits for work. `labels[i]`: what a sample belongs to. Of sample i: `times[i]` in ms since
 * the start of the recording (NaN: none), `stack_of[i]`, `label_of[i]`, `weights[i]` in `unit`, `counts[i]`.
 */
export function parseProfile(answer, most = MOST_SAMPLES) {
  if (answer?.format !== 'holdup-profile' || answer.version !== 1) {
    throw new Error('The answer is not a profile in version 1 of holdup\'s format.');
  }
  const values = list(answer.values);
  const drawn = values[answer.drawn] ?? { name: 'samples', unit: 'count' };
  const { functions, frames, lines } = functionsOf(list(answer.frames));
  const stacks = list(answer.stacks).map((stack) => outermostFirst(list(stack), frames.length));
  const idle = Uint8Array.from(stacks, (stack) => Number(stack.length === 1 && IDLE.has(functions[frames[stack[0]]].name)));
  const labels = list(answer.labels);
  const kept = thinned(list(answer.samples), stacks.length, most);
  return {
    kind: String(answer.kind),
    program: String(answer.program ?? ''),
    value_name: String(drawn.name),
    unit: String(drawn.unit),
    rate: answer.rate ?? null,
    started_at: number(answer.started_at_unix_ns) / 1e6,
    duration: number(answer.duration_ns) / 1e6,
    counted: countedName(values),
    notes: list(answer.quality?.notes).map(String),
    lost: number(answer.quality?.lost),
    truncated: number(answer.quality?.truncated),
    functions,
    frames,
    lines,
    stacks,
    idle,
    has_idle: idle.includes(1),
    labels,
    left_out: kept.left_out,
    ...columns(kept, { drawn: answer.drawn, counted: countedAt(values), labels: labels.length }),
  };
}

function list(value) {
  return Array.isArray(value) ? value : [];
}

function number(value) {
  return Number.isFinite(value) ? value : 0;
}

/** The value that says how often something was seen: samples, or stalls. */
function countedAt(values) {
  return values.findIndex((value) => value.unit === 'count' && /^(samples|stalls)$/.test(value.name));
}

function countedName(values) {
  return values[countedAt(values)]?.name ?? 'samples';
}

/** Frames of a function differ in their lines; a flamegraph has functions. */
function functionsOf(frames) {
  const functions = [];
  const known = new Map();
  const function_of = new Uint32Array(frames.length);
  const lines = new Uint32Array(frames.length);
  frames.forEach((frame, index) => {
    const name = String(frame.function);
    const origin = ORIGINS.has(frame.origin) ? frame.origin : 'unknown';
    const key = `${origin} ${name}`;
    if (!known.has(key)) {
      known.set(key, functions.length);
      functions.push({ name, origin, package: frame.package ?? null, file: frame.file ?? null });
    }
    function_of[index] = known.get(key);
    lines[index] = number(frame.line);
  });
  return { functions, frames: function_of, lines };
}

function outermostFirst(stack, frames) {
  return Uint32Array.from(stack.filter((frame) => frame >= 0 && frame < frames).reverse());
}

/** Every n-th sample, if there are too many. Each stands for n, so sums stay near the truth. */
function thinned(all, stacks, most) {
  const samples = all.filter((sample) => sample?.stack >= 0 && sample.stack < stacks);
  const every = Math.max(1, Math.ceil(samples.length / most));
  const kept = every === 1 ? samples : samples.filter((_, index) => index % every === 0);
  return { samples: kept, left_out: samples.length - kept.length, scale: kept.length > 0 ? samples.length / kept.length : 1 };
}

function columns({ samples, scale }, { drawn, counted, labels }) {
  const length = samples.length;
  const result = {
    length,
    times: new Float64Array(length),
    stack_of: new Uint32Array(length),
    label_of: new Int32Array(length),
    weights: new Float64Array(length),
    counts: new Float64Array(length),
    has_times: false,
  };
  samples.forEach((sample, index) => {
    const has_time = Number.isFinite(sample.at_ns);
    result.has_times ||= has_time;
    result.times[index] = has_time ? sample.at_ns / 1e6 : NaN;
    result.stack_of[index] = sample.stack;
    result.label_of[index] = sample.labels >= 0 && sample.labels < labels ? sample.labels : -1;
    result.weights[index] = Math.max(0, number(sample.values?.[drawn])) * scale;
    result.counts[index] = (counted < 0 ? 1 : Math.max(0, number(sample.values?.[counted]))) * scale;
  });
  return result;
}
