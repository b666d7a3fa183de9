// Numbers, times and names as text.

/** A duration with three significant digits, as in holdup's reports: `0.4 ms`, `10.3 ms`, `812 ms`, `4.21 s`, `3.2 min`. */
export function duration(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return '–';
  if (ms >= 120_000) return `${(ms / 60_000).toFixed(1)} min`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 99.95) return `${ms.toFixed(0)} ms`;
  return `${ms.toFixed(1)} ms`;
}

/** A duration that may be far below a millisecond: `8.3 µs`, `553 µs`, `1.3 ms`. */
export function fine(ms) {
  if (ms === null || ms === undefined || ms === 0 || ms >= 0.9995) return duration(ms);
  return ms < 0.01 ? `${(ms * 1000).toFixed(1)} µs` : `${(ms * 1000).toFixed(0)} µs`;
}

/** A clock that runs: `0.81 s`, `12.40 s`, `1:02.4 min`, `1:02:03 h`. */
export function clock(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 60) return `${(Math.floor(seconds * 100) / 100).toFixed(2)} s`;
  const two = (number) => String(Math.floor(number)).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}.${Math.floor((seconds * 10) % 10)} min`;
  return `${Math.floor(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)} h`;
}

/** Sizes: `7 B`, `1.5 KiB`, `3.0 MiB`. */
export function bytes(value) {
  if (value === null || value === undefined) return '–';
  if (Math.abs(value) < 1024) return `${value} B`;
  let size = value;
  for (const unit of ['KiB', 'MiB', 'GiB']) {
    size /= 1024;
    if (Math.abs(size) < 1024 || unit === 'GiB') return `${size.toFixed(1)} ${unit}`;
  }
}

/** A share of 1: `59 %`, `3.4 %`, `< 0.1 %`. */
export function share(part) {
  return percent(part * 100);
}

/** Percent: `59 %`, `3.4 %`, `< 0.1 %`. */
export function percent(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  if (value === 0) return '0 %';
  if (value < 0.1) return '< 0.1 %';
  return value < 9.95 ? `${value.toFixed(1)} %` : `${value.toFixed(0)} %`;
}

/** A number with thin spaces between groups of three digits: `12 345`. */
export function count(value) {
  if (value === null || value === undefined) return '–';
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

/** A change: `+12`, `−3`, `0`. */
export function change(value) {
  if (value === null || value === undefined) return '–';
  return value > 0 ? `+${count(value)}` : value < 0 ? `−${count(-value)}` : '0';
}

/** `1 stall`, `2 stalls`. */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`;
}

/** The time of day: `14:03:20`, or `14:03:20.250`. */
export function time(unix_ms, digits = 0) {
  const date = new Date(unix_ms);
  const two = (number) => String(number).padStart(2, '0');
  const seconds = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return digits === 0 ? seconds : `${seconds}.${String(date.getMilliseconds()).padStart(3, '0').slice(0, digits)}`;
}

/** How long ago: `now`, `12 s ago`, `3 min ago`, `2 h ago`. */
export function ago(ms) {
  if (ms < 1500) return 'now';
  if (ms < 90_000) return `${Math.round(ms / 1000)} s ago`;
  if (ms < 5_400_000) return `${Math.round(ms / 60_000)} min ago`;
  return `${Math.round(ms / 3_600_000)} h ago`;
}

// Controls, marks of direction and characters without width: a name with them could pretend to be another one.
// eslint-disable-next-line no-control-regex
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** A name whose unseen characters are written as `\u{202e}`. */
export function visible(text) {
  return String(text).replace(UNSEEN, (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}

/** A text of at most `longest` characters, cut in the middle. */
export function middleCut(text, longest) {
  if (text.length <= longest) return text;
  if (longest < 3) return text.slice(0, longest);
  const head = Math.ceil((longest - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (longest - 1 - head))}`;
}

/** The last two segments of a path: `src/feeds.rs:41` of `/home/me/app/src/feeds.rs:41`. */
export function shortPath(path) {
  return path.split('/').slice(-2).join('/');
}

/** `src/api.rs:7`, or null without line tables. */
export function location(place) {
  if (!place?.file) return null;
  return place.line === null || place.line === undefined ? place.file : `${place.file}:${place.line}`;
}

/** `task 12 "poller"`, `the future given to block_on`. */
export function task(task) {
  const number = task.id === null || task.id === undefined ? 'the future given to block_on' : `task ${task.id}`;
  return task.name === null || task.name === undefined ? number : `${number} "${task.name}"`;
}

/** `worker 3`, `thread in block_on`. */
export function worker(number) {
  return number === null || number === undefined ? 'thread in block_on' : `worker ${number}`;
}
