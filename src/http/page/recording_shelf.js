// The recordings that the page keeps. A page that stays open for a day keeps no more than these.

import { MOST_SAMPLES } from './profile_data.js';

export const MOST_RECORDINGS = 4;

/** Recordings, oldest first. `pinned` is kept as long as there is another one to drop. */
export function createShelf({ most_recordings = MOST_RECORDINGS, most_samples = MOST_SAMPLES } = {}) {
  let recordings = [];
  let next = 1;
  const samples = () => recordings.reduce((sum, recording) => sum + recording.length, 0);
  return {
    all: () => recordings,
    get: (number) => recordings.find((recording) => recording.number === number) ?? null,
    /** Adds a recording; the answer has the dropped ones. */
    add(recording, pinned = null) {
      recording.number = next++;
      recordings.push(recording);
      const dropped = [];
      while (recordings.length > most_recordings || (recordings.length > 1 && samples() > most_samples)) {
        const others = recordings.filter((other) => other !== recording);
        const victim = others.find((other) => other !== pinned) ?? others[0];
        recordings = recordings.filter((other) => other !== victim);
        dropped.push(victim);
      }
      return dropped;
    },
    remove(number) {
      recordings = recordings.filter((recording) => recording.number !== number);
    },
  };
}
