// What each worker did in the last minutes, in bins of equal width, as the service samples it.

/** Older bins are dropped: the page stays as small after a day as after five minutes. */
export const MOST_BINS = 1200;

/** Lanes of threads that ended are dropped first. */
const MOST_LANES = 512;

const FIELDS = ['polling', 'between', 'stalled', 'task'];

/** The empty extent of a page that has no data yet. */
const SHORTEST_EXTENT = 10_000;

export function createTimeline() {
  let lanes = new Map();
  const timeline = {
    interval: 250,
    origin: 0,
    /** The bins first..next are known. */
    first: 0,
    next: 0,
    threshold_ms: null,
    /** What the numbers in lanes' `task` mean. */
    tasks: [],
    lanes_left_out: 0,
    /** In the order of runtimes and workers: { key, runtime, worker, thread, tid, first, polling, between, stalled, task }. */
    lanes: [],

    /** Takes an answer; `is_whole` if it is no continuation. Returns false if bins between them are missing. */
    take(answer, is_whole) {
      if (!is_whole && (answer.first > timeline.next || answer.origin_unix_ms !== timeline.origin)) return false;
      if (is_whole) lanes = new Map();
      timeline.interval = answer.interval_ms;
      timeline.origin = answer.origin_unix_ms;
      timeline.first = is_whole ? answer.first : timeline.first;
      timeline.next = is_whole ? answer.next : Math.max(timeline.next, answer.next);
      timeline.threshold_ms = answer.threshold_ms ?? timeline.threshold_ms;
      timeline.lanes_left_out = answer.lanes_left_out ?? 0;
      if (is_whole || answer.tasks.length >= timeline.tasks.length) timeline.tasks = answer.tasks;
      for (const lane of answer.lanes) takeLane(lane);
      timeline.first = Math.max(timeline.first, timeline.next - MOST_BINS);
      forget();
      timeline.lanes = [...lanes.values()].sort(byWorker);
      return true;
    },

    /** The time of the known bins. */
    extent() {
      if (timeline.next === 0) {
        const now = Date.now();
        return { from: now - SHORTEST_EXTENT, to: now };
      }
      const to = timeline.origin + timeline.next * timeline.interval;
      return { from: Math.min(timeline.origin + timeline.first * timeline.interval, to - SHORTEST_EXTENT), to };
    },

    /** The bin of a time, with a fraction. */
    binAt: (unix_ms) => (unix_ms - timeline.origin) / timeline.interval,
    timeOf: (bin) => timeline.origin + bin * timeline.interval,
  };

  function takeLane(news) {
    const old = lanes.get(news.key);
    if (!old) {
      lanes.set(news.key, { ...news });
      return;
    }
    for (const field of ['runtime', 'worker', 'thread', 'tid']) old[field] = news[field];
    const end = old.first + old.polling.length;
    // A lane that was away for some bins: what lies between is not known.
    for (const field of FIELDS) {
      const missing = Math.max(0, news.first - end);
      for (let index = 0; index < missing; index += 1) old[field].push(field === 'task' ? -1 : 0);
      old[field].length = Math.min(old[field].length, Math.max(0, news.first - old.first));
      for (const value of news[field]) old[field].push(value);
    }
  }

  function forget() {
    for (const [key, lane] of lanes) {
      const old = timeline.first - lane.first;
      if (old > 0) {
        for (const field of FIELDS) lane[field].splice(0, old);
        lane.first = timeline.first;
      }
      if (lane.polling.length === 0 && timeline.next > timeline.first) lanes.delete(key);
    }
    const by_end = [...lanes.values()].sort((a, b) => a.first + a.polling.length - b.first - b.polling.length);
    for (const lane of by_end.slice(0, Math.max(0, lanes.size - MOST_LANES))) lanes.delete(lane.key);
  }

  return timeline;
}

function byWorker(a, b) {
  if (a.runtime !== b.runtime) return a.runtime < b.runtime ? -1 : 1;
  // The thread in block_on comes last.
  return (a.worker ?? Infinity) - (b.worker ?? Infinity) || a.key - b.key;
}

/** What a lane did in the bins from..to: averages in percent, and the time of each task. */
export function summary(lane, from, to) {
  const start = Math.max(0, Math.floor(from) - lane.first);
  const end = Math.min(lane.polling.length, Math.ceil(to) - lane.first);
  const sum = { polling: 0, between: 0, stalled: 0 };
  const tasks = new Map();
  for (let index = start; index < end; index += 1) {
    sum.polling += lane.polling[index];
    sum.between += lane.between[index];
    sum.stalled += lane.stalled[index];
    const task = lane.task[index];
    if (task >= 0) tasks.set(task, (tasks.get(task) ?? 0) + lane.polling[index]);
  }
  const bins = Math.max(0, end - start);
  const mean = (value) => (bins === 0 ? null : value / bins);
  const parked = bins === 0 ? null : Math.max(0, 100 - (sum.polling + sum.between) / bins);
  return { bins, polling: mean(sum.polling), between: mean(sum.between), stalled: mean(sum.stalled), parked, tasks };
}
