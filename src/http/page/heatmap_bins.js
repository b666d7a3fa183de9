// The bins of a heatmap: a column for each second, and in it a bin for each part of the second.

import { eachSample } from './profile_filter.js';

/** Bins of a second: 50 ms each. */
export const BINS = 20;

/** The width of a bin in ms. */
export const BIN_MS = 1000 / BINS;

/** The weights of bins in order of time: { seconds, recorded, weights, counts, most }. `recorded`: bins before the end of the
 * recording. The filter's time range does not apply. */
export function binsOf(recording, filter) {
  let last = recording.duration;
  for (let i = 0; i < recording.length; i++) if (recording.times[i] > last) last = recording.times[i];
  const seconds = Math.min(3600, Math.max(1, Math.ceil(last / 1000 - 0.05)));
  const weights = new Float64Array(seconds * BINS);
  const counts = new Float64Array(seconds * BINS);
  eachSample(recording, { ...filter, from: null, to: null }, (i) => {
    const bin = Math.min(weights.length - 1, Math.floor(recording.times[i] / BIN_MS));
    if (!(bin >= 0)) return;
    weights[bin] += recording.weights[i];
    counts[bin] += recording.counts[i];
  });
  const recorded = Math.min(weights.length, Math.ceil(last / BIN_MS));
  return { seconds, recorded, weights, counts, most: weights.reduce((most, weight) => Math.max(most, weight), 0) };
}

/** The bins of a time range in ms: { first, last }, both in it. Null without a range. */
export function binsOfRange(range, bins) {
  if (!range) return null;
  const end = bins.weights.length - 1;
  const first = Math.min(end, Math.max(0, Math.floor(range.from / BIN_MS + 1e-6)));
  return { first, last: Math.min(end, Math.max(first, Math.ceil(range.to / BIN_MS - 1e-6) - 1)) };
}

/** The time range of bins, in either order, in ms. */
export function rangeOfBins(one, other) {
  return { from: Math.min(one, other) * BIN_MS, to: (Math.max(one, other) + 1) * BIN_MS };
}

/** The bin at a place of the canvas; places outside are moved inside. */
export function binAt(x, y, { width, height, seconds }) {
  const second = Math.min(seconds - 1, Math.max(0, Math.floor((x / width) * seconds)));
  // The second begins at the bottom, as in FlameScope.
  const row = Math.min(BINS - 1, Math.max(0, Math.floor((1 - y / height) * BINS)));
  return second * BINS + row;
}
