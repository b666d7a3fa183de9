// The latest data of the service, and who wants to know of a change. Everything in it is bounded.

import { createNumberHistory } from './number_history.js';
import { createTimeline } from './timeline.js';

export function createStore() {
  const listeners = new Set();
  const store = {
    stalls: null,
    held: null,
    timeline: createTimeline(),
    numbers: createNumberHistory(),
    check: null,
    contact: { state: 'connecting', since: new Date(), sentence: '' },
    program: null,
    pid: null,
    version: null,

    /** Calls `listener()` after a change of one of the topics. */
    subscribe(topics, listener) {
      const entry = { topics, listener };
      listeners.add(entry);
      return () => listeners.delete(entry);
    },

    /** Tells the listeners of topics. A panel that fails does not take the others down. */
    tell(...topics) {
      for (const { topics: wanted, listener } of [...listeners]) {
        if (!wanted.some((topic) => topics.includes(topic))) continue;
        try {
          listener();
        } catch (error) {
          console.error(error);
        }
      }
    },

    setStalls(answer) {
      store.stalls = answer;
      store.tell('stalls');
    },

    setHeld(event) {
      store.held = { ...event, received_at: performance.now() };
      store.tell('held');
    },

    /** Returns false if bins are missing, so that the whole has to be asked for. */
    takeTimeline(answer, is_whole) {
      if (!is_whole && answer.pid !== undefined && store.pid !== null && answer.pid !== store.pid) return false;
      if (!store.timeline.take(answer, is_whole)) return false;
      // Another process: what is known of the old one is over.
      const is_another = store.pid !== null && answer.pid !== undefined && answer.pid !== store.pid;
      if (is_another) store.setStalls(null);
      store.numbers.take(answer.numbers, is_whole);
      for (const field of ['program', 'pid', 'version']) store[field] = answer[field] ?? store[field];
      store.tell('timeline', 'numbers');
      return true;
    },

    setCheck(answer) {
      store.check = answer;
      store.tell('check');
    },

    /** `since`: the time of the last sign of life. It is kept as long as the state is the same. */
    setContact(state, sentence = '', since = new Date()) {
      const { contact } = store;
      if (contact.state === state && contact.sentence === sentence) return;
      store.contact = { state, since: contact.state === state ? contact.since : since, sentence };
      store.tell('contact');
    },
  };
  return store;
}
