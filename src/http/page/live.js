// Follows the service: reads its live stream, asks for what the stream only announces, and notices when contact is lost.

import { createEventParser } from './event_stream.js';
import { refusal, request } from './request.js';

const LIVE = '/debug/holdup/live';
const TIMELINE = '/debug/holdup/timeline';
const STALLS = '/debug/holdup/stalls';
const CHECK = '/debug/holdup/self-check';

/** The service says something at least once per second. */
const SILENCE = 3000;

/** A stream that ends by itself after this time is continued by the next one. The service ends each after some minutes. */
const WHOLE_STREAM = 10_000;

const RETRIES = [1000, 2000, 4000, 7000, 10_000];

/** Stalls are asked for at most this often, and less often if the answer is large. */
const STALLS_PAUSE = 1500;

/** The self-check changes when runtimes come and go, which is rare. */
const CHECK_PAUSE = 60_000;

export function follow(app) {
  const { store } = app;
  let attempt = 0;
  let heard_at = performance.now();
  let connection = null;
  let is_asking = false;

  connect();
  const silence = setInterval(() => {
    if (connection && performance.now() - heard_at > SILENCE) connection.abort(new Error('The service is silent.'));
  }, 500);
  const stop = followStalls(app);
  const stop_check = followCheck(app);
  return () => {
    clearInterval(silence);
    stop();
    stop_check();
    connection?.abort();
  };

  async function connect() {
    connection = new AbortController();
    heard_at = performance.now();
    const opened_at = heard_at;
    let ending = 'lost';
    let is_whole = false;
    let sentence = '';
    try {
      const response = await fetch(LIVE, {
        signal: connection.signal, credentials: 'same-origin', cache: 'no-store', headers: { accept: 'text/event-stream' },
      });
      if (!response.ok) throw new Error(await refusal(response));
      askForWhole();
      const parser = createEventParser((name, data) => {
        heard_at = performance.now();
        if (name === 'bye') ending = 'ended';
        else take(name, data);
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        is_whole = done && performance.now() - opened_at > WHOLE_STREAM;
        if (done) break;
        parser(value);
      }
    } catch (error) {
      // The browser's own words for a refused connection say nothing more.
      sentence = error instanceof TypeError ? '' : error.message;
    }
    connection.abort();
    connection = null;
    if (is_whole && ending === 'lost') {
      connect();
      return;
    }
    // After the end of the watch, refused connections are no news.
    if (store.contact.state !== 'ended') store.setContact(ending, sentence, new Date(Date.now() - (performance.now() - heard_at)));
    setTimeout(connect, RETRIES[Math.min(attempt, RETRIES.length - 1)]);
    attempt += 1;
  }

  function take(name, data) {
    attempt = 0;
    store.setContact('live');
    if (name === 'held') store.setHeld(JSON.parse(data));
    if (name === 'timeline' && !is_asking && !store.takeTimeline(JSON.parse(data), false)) askForWhole();
  }

  async function askForWhole() {
    if (is_asking) return;
    is_asking = true;
    try {
      store.takeTimeline(await request(TIMELINE, { signal: connection?.signal }), true);
    } catch {
      // The next event of the stream shows the gap again.
    } finally {
      is_asking = false;
    }
  }
}

/** Keeps the stalls at the version that the stream announces. */
function followStalls({ store }) {
  let shown = null;
  let is_asking = false;
  let earliest = 0;
  let timer = null;

  async function ask() {
    timer = null;
    const version = store.held?.stalls_version ?? null;
    const is_gone = store.stalls && store.contact.state !== 'live';
    if (is_asking || is_gone || document.hidden || (version === shown && store.stalls)) return;
    is_asking = true;
    const start = performance.now();
    try {
      const answer = await request(STALLS);
      shown = version;
      store.setStalls(answer);
    } catch {
      // The stream tells whether contact is lost.
    } finally {
      is_asking = false;
      // A large answer costs the service time, too.
      earliest = performance.now() + Math.max(STALLS_PAUSE, 20 * (performance.now() - start));
    }
    if ((store.held?.stalls_version ?? null) !== shown) plan();
  }

  function plan() {
    timer ??= setTimeout(ask, Math.max(0, earliest - performance.now()));
  }

  const changed = () => {
    if ((store.held?.stalls_version ?? null) !== shown || !store.stalls) plan();
  };
  // Another process has other stalls under the same version: the store forgets those of the old one.
  const stop = store.subscribe(['held', 'contact', 'stalls'], changed);
  document.addEventListener('visibilitychange', changed);
  plan();
  return () => {
    stop();
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', changed);
  };
}

function followCheck({ store }) {
  const ask = async () => {
    if (document.hidden && store.check) return;
    try {
      store.setCheck(await request(CHECK));
    } catch {
      // It is asked for again after the contact is back.
    }
  };
  const stop = store.subscribe(['contact'], () => { if (store.contact.state === 'live') ask(); });
  const timer = setInterval(ask, CHECK_PAUSE);
  return () => {
    stop();
    clearInterval(timer);
  };
}
