// Which stalls are listed: by time, cause, kind and words. Pure functions over the answer of /debug/holdup/stalls.

import { overlaps } from './time_window.js';

/** The time from the first to the newest of equal stalls, in unix ms. */
export function timeOf(entry) {
  const began = entry.began_unix_ms || entry.noticed_unix_ms - entry.threshold_ms;
  const from = Math.min(entry.first_noticed_unix_ms - entry.threshold_ms, began);
  return { from, to: entry.ended ? began + entry.duration_ms : Infinity };
}

/** All text of an entry that a search looks at, in lower case. */
export function textOf(entry) {
  const culprit = entry.culprit ?? {};
  return [
    culprit.function, culprit.file, culprit.call, entry.cause.title, entry.cause.class, ...(entry.cause.objects ?? []), entry.runtime, entry.thread,
    entry.task.name, entry.task.spawned_at, ...entry.cause.evidence.waits.map((wait) => wait.place),
    ...entry.stack.map((frame) => frame.function), ...entry.waiting.victims.tasks.flatMap((victim) => [victim.task.name, victim.task.spawned_at]),
  ].filter((text) => typeof text === 'string').join('\n').toLowerCase();
}

// The text of an entry is built once: a search runs at each key.
const texts = new WeakMap();

function cachedText(entry) {
  if (!texts.has(entry)) texts.set(entry, textOf(entry));
  return texts.get(entry);
}

/** Whether an entry is listed. `words` must all be found. */
export function isListed(entry, { selection, cause, words }) {
  if (selection && !overlaps(timeOf(entry), selection)) return false;
  if (cause && entry.cause.class !== cause) return false;
  return words.every((word) => cachedText(entry).includes(word));
}

/** The words of a search. */
export function wordsOf(search) {
  return (search ?? '').toLowerCase().split(/\s+/).filter((word) => word !== '').slice(0, 8);
}

/**
 * The groups with their listed entries, those that took most time first: { groups: [{ key, group, entries }], listed, all }.
 * The sums of a group are those of the whole watch: a stall of the past is known by its sum only.
 */
export function listed(answer, { selection = null, cause = null, counted = null, search = null }) {
  const by_id = new Map(answer.stalls.map((entry) => [entry.id, entry]));
  const words = wordsOf(search);
  const groups = [];
  let number = 0;
  for (const group of answer.groups) {
    if (counted === 'running' ? group.running === 0 : counted && group.counted_as !== counted) continue;
    const entries = group.stalls.map((id) => by_id.get(id)).filter((entry) => entry
      && (counted !== 'running' || !entry.ended) && isListed(entry, { selection, cause, words }));
    if (entries.length === 0) continue;
    number += entries.length;
    groups.push({ key: `${group.counted_as} ${group.function ?? ''}`, group, entries });
  }
  groups.sort((a, b) => b.group.total_ms - a.group.total_ms);
  return { groups, listed: number, all: answer.stalls.length };
}
