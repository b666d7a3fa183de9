// Lanes and numbers of the service of the tests. They depend on nothing but the time, so each run draws the same picture.

import { HOSTILE } from './hostile_names.mjs';

const INTERVAL = 250;

/** The service has been running for so long. */
const AGE = 310_000;

const NAMES = [
  'GET /latest-news', 'src/feeds.rs:41', 'poller', 'hyper-util-0.1.21/src/rt/tokio.rs:127', 'src/kafka/producer.rs:88', 'reader',
  'src/cache/evict.rs:19', 'src/readers.rs:46', 'metrics', 'src/api/stream.rs:212', 'src/api/ws.rs:77',
];

/** The same number between 0 and 1 for the same seed. */
function chance(seed) {
  const wave = Math.sin(seed * 127.1) * 43758.5453;
  return wave - Math.floor(wave);
}

export function createLanes({ scenario, workers, pid }) {
  const origin = Date.now() - AGE;
  const is_hostile = scenario === 'hostile';
  const tasks = is_hostile ? [...HOSTILE, '</script><script>alert(2)</script>', 'line\nbreak', '', '\u0000nul', 'ok'] : NAMES;
  const next = () => Math.floor((Date.now() - origin) / INTERVAL);
  const start = next();

  const isStalled = (worker, bin) => {
    if (scenario === 'quiet') return false;
    if (scenario === 'all-stuck') return bin > start;
    if (scenario === 'one' && worker === 1 && bin >= start) return true;
    const block = Math.floor(bin / 40);
    return chance(block * 7 + worker) > 0.93 && bin % 40 < 3 + chance(block + worker) * 12;
  };

  const lane = (worker, first, end) => {
    const is_last = worker === workers - 1 && workers > 2;
    const lane = {
      key: 100 + worker, runtime: is_hostile && worker === 0 ? HOSTILE[0] : is_last && scenario !== 'one' ? 'background' : 'main',
      worker: is_last ? null : worker, thread: is_hostile ? HOSTILE[1] : `main-worker-${worker}`, tid: 4242 + worker, first,
      polling: [], between: [], stalled: [], task: [],
    };
    for (let bin = first; bin < end; bin += 1) {
      const is_stalled = isStalled(worker, bin);
      const wave = 0.35 + 0.3 * Math.sin(bin / 90 + worker) + 0.25 * chance(bin * 3.7 + worker * 17);
      const is_busy = chance(Math.floor(bin / 6) * 1.3 + worker) > 0.35;
      const polling = is_stalled ? 100 : is_busy ? Math.max(0, Math.min(95, Math.round(wave * 80))) : 0;
      lane.polling.push(polling);
      lane.between.push(is_stalled ? 0 : Math.min(100 - polling, Math.round(polling * 0.12)));
      lane.stalled.push(is_stalled ? 100 : 0);
      lane.task.push(polling === 0 ? -1 : Math.floor(chance(Math.floor(bin / 12) + worker * 5) ** 2 * tasks.length));
    }
    return lane;
  };

  const numbers = (from, to) => {
    const all = { unix_ms: [], memory_bytes: [], cpu_percent: [], holdup_cpu_percent: [], runtimes: [] };
    for (const runtime of [is_hostile ? HOSTILE[0] : 'main', 'background']) {
      all.runtimes.push({
        runtime, workers, first: 0, alive_tasks: [], global_queue: [], local_queue: scenario === 'quiet' ? null : [],
        blocking_threads: scenario === 'quiet' ? null : [], blocking_queue: scenario === 'quiet' ? null : [], busy_percent: [], longest_poll_ms: [],
      });
    }
    for (let second = from; second < to; second += 1) {
      all.unix_ms.push(origin + second * 1000);
      all.memory_bytes.push(Math.round(120e6 + 8e6 * Math.sin(second / 40) + second * 4e4));
      all.cpu_percent.push(60 + 30 * Math.sin(second / 20) + 10 * chance(second));
      all.holdup_cpu_percent.push(0.3 + 0.3 * chance(second + 1));
      all.runtimes.forEach((runtime, index) => {
        runtime.alive_tasks.push(Math.round(30 + index * 8 + second / 20 + 3 * chance(second)));
        runtime.global_queue.push(Math.floor(chance(second) ** 4 * 12));
        runtime.local_queue?.push(Math.floor(chance(second + index) ** 3 * 20));
        runtime.blocking_threads?.push(2 + index + Math.floor(chance(Math.floor(second / 9)) * 4));
        runtime.blocking_queue?.push(Math.floor(chance(second + 3) ** 6 * 9));
        runtime.busy_percent.push(Math.max(0, 40 - index * 15 + 25 * Math.sin(second / 17 + index) + 10 * chance(second)));
        runtime.longest_poll_ms.push(Math.round(1 + 4 * chance(second + index * 3)));
      });
    }
    return all;
  };

  const between = (first, end) => ({
    version: '0.1.0', program: is_hostile ? HOSTILE.slice(0, 2).join('') : 'news_pipeline', pid, interval_ms: INTERVAL, origin_unix_ms: origin, first, next: end,
    threshold_ms: 10, tasks, lanes: Array.from({ length: workers }, (_, worker) => lane(worker, first, end)), lanes_left_out: Math.max(0, workers - 256),
    numbers_interval_ms: 1000, numbers: numbers(Math.floor(first / 4), Math.floor(end / 4)),
  });
  return {
    /** The bin of the present time, which is not known yet. */
    next,
    between,
    whole: () => between(Math.max(0, next() - 1200), next()),
  };
}
