// The words of the profile panel: modes, amounts and sentences.

import { bytes, count, duration, plural, share, visible } from './format.js';

/** The modes of a recording. Without `seconds`, the service answers at once. */
export const MODES = [
  { mode: 'cpu', label: 'CPU time', what: 'CPU time', seconds: true, sampled: true },
  { mode: 'wall', label: 'Wall-clock time', what: 'Wall-clock time', seconds: true, sampled: true },
  { mode: 'stalled', label: 'Stalled time', what: 'Stalled time', seconds: true },
  { mode: 'heap', label: 'Heap: live memory', what: 'Live memory', seconds: false },
  { mode: 'peak', label: 'Heap: memory at the peak', what: 'Memory at the peak', seconds: false },
  { mode: 'allocs', label: 'Heap: allocated memory', what: 'Allocated memory', seconds: true },
  { mode: 'leaks', label: 'Heap: allocated and kept', what: 'Memory allocated and kept', seconds: true },
  { mode: 'temporary', label: 'Heap: freed at once', what: 'Memory freed at once', seconds: true },
];

/** The mode with a name; the first one for an unknown name. */
export function modeNamed(name) {
  return MODES.find((mode) => mode.mode === name) ?? MODES[0];
}

/** What a recording measures: `CPU time`. */
export function kindText(recording) {
  return MODES.find((mode) => mode.mode === recording.kind)?.what ?? visible(recording.kind);
}

/** The same inside a sentence: `wall-clock time`. */
export function kindInside(recording) {
  const text = kindText(recording);
  return /^[A-Z][a-z]/.test(text) ? text[0].toLowerCase() + text.slice(1) : text;
}

export const ORIGINS = [
  ['user', 'your code'],
  ['dependency', 'dependency'],
  ['std', 'standard library'],
  ['runtime', 'runtime'],
  ['system', 'system'],
  ['unknown', 'unknown'],
];

/** Whose code a function is: `your code`. */
export function originText(origin) {
  return ORIGINS.find(([name]) => name === origin)?.[1] ?? '';
}

/** A value with its unit. */
export function amount(value, unit) {
  if (unit === 'nanoseconds') return duration(value / 1e6);
  if (unit === 'bytes') return bytes(value < 1024 ? Math.round(value) : value);
  return count(value);
}

/** A change with its sign: `+1.20 s`, `−3.0 ms`, `±0`. */
export function signed(value, unit) {
  if (value === 0) return '±0';
  return `${value > 0 ? '+' : '−'}${amount(Math.abs(value), unit)}`;
}

/** The mark of a change: shapes, because colors alone have no meaning. */
export function changeMark(value) {
  return value > 0 ? '▲' : value < 0 ? '▼' : '=';
}

/** A share of 1 with its sign. */
export function signedShare(part) {
  if (part === 0) return '±0 %';
  return `${part > 0 ? '+' : '−'}${share(Math.abs(part))}`;
}

/** A share of a total; without a total there is none. */
export function shareOf(value, total) {
  return total > 0 ? share(value / total) : '–';
}

/** The place of a function: `src/api.rs:7`, with several lines `src/api.rs:7, 12, …`. */
export function placeText(at) {
  if (!at.file) return '';
  const lines = [...at.lines].sort((a, b) => a - b);
  if (lines.length === 0) return visible(at.file);
  const shown = lines.length > 5 ? `${lines.slice(0, 5).join(', ')}, …` : lines.join(', ');
  return `${visible(at.file)}:${shown}`;
}

/** `1 sample`, `12 stalls`. */
export function counted(number, recording) {
  return plural(Math.round(number), recording.counted.replace(/s$/, ''));
}

/** A time since the start of the recording: `3.25 s`. */
export function offset(ms) {
  return `${(ms / 1000).toFixed(2)} s`;
}

/** `3.25 s to 3.30 s`. */
export function rangeText(range) {
  return `${offset(range.from)} to ${offset(range.to)}`;
}

/** What the page left out of a recording, as sentences. */
export function leftOutSentences(recording) {
  const sentences = [];
  if (recording.left_out > 0) {
    const all = recording.length + recording.left_out;
    sentences.push(`The page keeps ${count(recording.length)} of ${count(all)} samples; each stands for ${(all / recording.length).toFixed(1)}.`);
  }
  if (recording.lost > 0) sentences.push(`The service lost ${plural(recording.lost, 'sample')}.`);
  if (recording.truncated > 0) sentences.push(`The service cut ${plural(recording.truncated, 'stack')} that ${recording.truncated === 1 ? 'was' : 'were'} too deep.`);
  return sentences;
}

/** A sentence of the service: with a capital at its start and a full stop at its end. */
export function sentence(text) {
  const trimmed = visible(text).trim();
  if (trimmed === '') return '';
  return `${trimmed[0].toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? '' : '.'}`;
}
