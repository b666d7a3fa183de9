// The numbers of the last minutes, one set per second. All arrays are as long as `unix_ms`; null where a number is not known.

/** Five minutes of seconds. */
export const MOST_NUMBERS = 300;

const OF_PROCESS = ['memory_bytes', 'cpu_percent', 'holdup_cpu_percent'];
export const OF_RUNTIME = [
  'alive_tasks', 'global_queue', 'local_queue', 'blocking_threads', 'blocking_queue', 'busy_percent', 'longest_poll_ms', 'event_loop_lag_ms',
];

/** A runtime that is gone stays until its numbers are old. */
const MOST_RUNTIMES = 16;

export function createNumberHistory() {
  const history = {
    unix_ms: [],
    memory_bytes: [],
    cpu_percent: [],
    holdup_cpu_percent: [],
    /** { runtime, workers, alive_tasks: [], … } */
    runtimes: [],

    /** Takes the `numbers` of an answer; `is_whole` if it is no continuation. */
    take(numbers, is_whole) {
      if (is_whole) clear();
      if (!numbers) return;
      const last = history.unix_ms.at(-1) ?? -Infinity;
      numbers.unix_ms.forEach((time, index) => {
        if (time <= last) return;
        history.unix_ms.push(time);
        for (const name of OF_PROCESS) history[name].push(numbers[name]?.[index] ?? null);
        for (const news of numbers.runtimes) {
          const runtime = runtimeOf(news);
          runtime.workers = news.workers;
          const at = index - (news.first ?? 0);
          for (const name of OF_RUNTIME) runtime[name][history.unix_ms.length - 1] = (at >= 0 ? news[name]?.[at] : null) ?? null;
        }
      });
      level();
      forget();
    },
  };

  function clear() {
    history.unix_ms = [];
    for (const name of OF_PROCESS) history[name] = [];
    history.runtimes = [];
  }

  function runtimeOf(news) {
    const known = history.runtimes.find((runtime) => runtime.runtime === news.runtime);
    if (known) return known;
    const runtime = { runtime: news.runtime, workers: news.workers };
    for (const name of OF_RUNTIME) runtime[name] = new Array(history.unix_ms.length).fill(null);
    history.runtimes.push(runtime);
    return runtime;
  }

  // Runtimes that an answer leaves out have no numbers for its seconds.
  function level() {
    for (const runtime of history.runtimes) {
      for (const name of OF_RUNTIME) while (runtime[name].length < history.unix_ms.length) runtime[name].push(null);
    }
  }

  function forget() {
    const old = history.unix_ms.length - MOST_NUMBERS;
    if (old > 0) {
      history.unix_ms.splice(0, old);
      for (const name of OF_PROCESS) history[name].splice(0, old);
      for (const runtime of history.runtimes) for (const name of OF_RUNTIME) runtime[name].splice(0, old);
    }
    history.runtimes = history.runtimes.filter((runtime) => runtime.alive_tasks.some((value) => value !== null)
      || runtime.busy_percent.some((value) => value !== null)).slice(-MOST_RUNTIMES);
  }

  return history;
}
