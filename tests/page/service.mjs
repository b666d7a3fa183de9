// A service as the page sees it, without holdup: `const service = await startService({ scenario: 'many' })`.
//
// To look at a scenario in a browser of your own:
//
//   node tests/page/service.mjs 7070 quiet|normal|one|many|all-stuck|hostile
//
// The test `real_service.mjs` shows that a real service answers alike.

import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { createLanes } from './service_lanes.mjs';
import { heldNow, profileOf, selfCheck, stallsOf, tasksBy } from './service_answers.mjs';

const PAGE = new URL('../../src/http/page/', import.meta.url);

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
  + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.html': 'text/html; charset=utf-8', '.txt': 'text/plain' };

/**
 * Starts a service. `held_every` and `timeline_every`: ms between its events. `timeline_delay`: ms until the timeline is answered.
 * The answer: { url, port, …controls }.
 */
export async function startService({ scenario = 'normal', workers = 4, held_every = 100, timeline_every = 1000, timeline_delay = 0, pid = 4240, port = 0 } = {}) {
  const lanes = createLanes({ scenario, workers, pid });
  const stalls = stallsOf(scenario);
  const streams = new Set();
  const started_at = Date.now();
  const recordings = new Map();
  let version = 1;
  let is_silent = false;
  let refusal = null;
  let events = 0;

  const tell = (stream, name, data) => {
    if (is_silent) return;
    events += 1;
    stream.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  };
  const held = () => heldNow(scenario, workers, Date.now() - started_at);
  const tellHeld = (stream) => tell(stream, 'held', { unix_ms: Date.now(), stalls_version: version, counters: stalls.counters, held: held() });

  /** The stream of one page. */
  const follow = (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    streams.add(response);
    tellHeld(response);
    let next = lanes.next();
    const timers = [
      setInterval(() => { if (held().length > 0) tellHeld(response); }, held_every),
      setInterval(() => {
        const now = lanes.next();
        tell(response, 'timeline', lanes.between(next, now));
        next = now;
      }, timeline_every),
    ];
    response.on('close', () => {
      timers.forEach(clearInterval);
      streams.delete(response);
    });
  };

  /** Answers after the seconds that the request names, or when it is stopped. */
  const recordProfile = (query, send) => {
    if (refusal) {
      send('text/plain', `${refusal.sentence}\n`, refusal.status);
      return;
    }
    const started = Date.now();
    const end = () => {
      clearTimeout(timer);
      recordings.delete(query.get('name'));
      send('application/json', JSON.stringify(profileOf(query.get('mode'), started)));
    };
    const timer = setTimeout(end, 1000 * Number(query.get('seconds') ?? 0));
    recordings.set(query.get('name'), end);
  };

  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://service');
    const send = (type, body, status = 200) => response.writeHead(status, {
      'content-type': type, 'content-security-policy': POLICY, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer',
    }).end(body);
    const json = (value) => send('application/json', JSON.stringify(value));
    const name = url.pathname === '/' ? 'index.html' : url.pathname.match(/^\/debug\/holdup\/page\/([a-z0-9_.]+)$/)?.[1];
    if (name) {
      send(TYPES[extname(name)] ?? 'text/plain', readFileSync(new URL(name, PAGE)));
      return;
    }
    const work = {
      '/debug/holdup/timeline': () => setTimeout(() => json(lanes.whole()), timeline_delay),
      '/debug/holdup/stalls': () => json(stalls),
      '/debug/holdup/self-check': () => json(selfCheck()),
      '/debug/holdup/tasks': () => json(tasksBy(url.searchParams.get('by') ?? 'spawn', scenario)),
      '/debug/holdup/profile': () => recordProfile(url.searchParams, send),
      '/debug/holdup/profile/stop': () => {
        recordings.get(url.searchParams.get('name'))?.();
        send('text/plain', 'The recording ends.\n');
      },
      '/debug/holdup/live': () => follow(response),
    }[url.pathname];
    if (work) work();
    else send('text/plain', 'There is no such path.\n', 404);
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));

  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    port: server.address().port,
    /** Events that were sent to all pages. */
    events: () => events,
    /** Says nothing, and keeps its connections. */
    fallSilent() { is_silent = true; },
    speakAgain() { is_silent = false; },
    /** Another answer of the stalls is known from now on. */
    announceStalls() {
      version += 1;
      for (const stream of streams) tellHeld(stream);
    },
    /** Refuses recordings with a sentence; null: no longer. */
    refuseProfiles(next) { refusal = next; },
    /** The watch ends, and then the service. */
    async sayGoodbye() {
      await Promise.all([...streams].map((stream) => new Promise((resolve) => {
        stream.on('close', resolve);
        stream.end('event: bye\ndata: null\n\n');
      })));
      await this.close();
    },
    /** The service is gone: its connections break, and new ones are refused. */
    async close() {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const [, , port = '7070', scenario = 'normal'] = process.argv;
  console.log((await startService({ port: Number(port), scenario })).url);
}
