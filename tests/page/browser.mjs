// A small client of Chromium's DevTools protocol: `const browser = await launch(); const page = await browser.open(url)`.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PROGRAM = process.env.HOLDUP_CHROMIUM ?? '/usr/bin/chromium';

/** The tests open pages of this machine only, so the sandbox is not needed; in containers it is often not possible. */
const OPTIONS = [
  '--headless', '--no-sandbox', '--hide-scrollbars', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
  '--js-flags=--expose-gc', '--enable-precise-memory-info', '--remote-debugging-pipe',
];

/** What a page may take on a busy machine, in ms. */
const DEADLINE = 20_000;

const KEY_CODES = {
  Backspace: 8, Tab: 9, Enter: 13, Escape: 27, ' ': 32, End: 35, Home: 36, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40,
};

/** Starts a browser with an empty profile. */
export async function launch() {
  const profile = mkdtempSync(join(tmpdir(), 'holdup-page-'));
  const child = spawn(PROGRAM, [...OPTIONS, `--user-data-dir=${profile}`, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const exited = new Promise((resolve) => child.once('close', resolve));
  const { send, sessions } = connect(child);
  return {
    async open(url, { width = 1440, height = 900, dark = false } = {}) {
      const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
      const call = (method, params) => send(method, params, sessionId);
      const page = { ...record(call, sessions, sessionId), ...controls(call), close: () => send('Target.closeTarget', { targetId }) };
      for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await call(`${domain}.enable`);
      page.resize = (w) => call('Emulation.setDeviceMetricsOverride', { width: w, height, deviceScaleFactor: 1, mobile: w < 500 });
      await page.resize(width);
      await call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }] });
      await call('Page.navigate', { url });
      return page;
    },
    async close() {
      await send('Browser.close').catch(() => {});
      await exited;
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** The protocol runs over a pipe, with a zero byte after each message: Node 20 has no WebSocket client. */
function connect(child) {
  const [, , , to, from] = child.stdio;
  const waiting = new Map();
  const sessions = new Map();
  let next = 1;
  let is_over = null;
  const end = (error) => {
    is_over ??= error;
    for (const { reject } of waiting.values()) reject(is_over);
    waiting.clear();
  };
  child.once('error', (error) => end(new Error(`${PROGRAM} does not start: ${error.message}`)));
  child.once('close', () => end(new Error(`${PROGRAM} has ended.`)));
  to.on('error', end);
  from.on('error', end);

  const take = (text) => {
    const message = JSON.parse(text);
    if (!message.id) {
      sessions.get(message.sessionId)?.(message.method, message.params);
      return;
    }
    const { resolve, reject } = waiting.get(message.id) ?? {};
    waiting.delete(message.id);
    if (message.error) reject?.(new Error(JSON.stringify(message.error)));
    else resolve?.(message.result);
  };
  let pieces = [];
  from.on('data', (bytes) => {
    let piece = bytes;
    for (let at = piece.indexOf(0); at >= 0; at = piece.indexOf(0)) {
      take(Buffer.concat([...pieces, piece.subarray(0, at)]).toString());
      pieces = [];
      piece = piece.subarray(at + 1);
    }
    pieces.push(piece);
  });
  const send = (method, params = {}, sessionId) => new Promise((resolve, reject) => {
    if (is_over) {
      reject(is_over);
      return;
    }
    waiting.set(next, { resolve, reject });
    to.write(`${JSON.stringify({ id: next, method, params, sessionId })}\0`);
    next += 1;
  });
  return { send, sessions };
}

/** What a page tells: its console, its errors, its dialogs, and whom it asks. */
function record(call, sessions, sessionId) {
  const told = { console: [], errors: [], requests: [], dialogs: [] };
  const take = {
    'Runtime.consoleAPICalled': ({ type, args }) => told.console.push(`${type}: ${args.map((arg) => arg.value ?? arg.description).join(' ')}`),
    'Runtime.exceptionThrown': ({ exceptionDetails: { exception, text } }) => told.errors.push(exception?.description ?? text),
    'Log.entryAdded': ({ entry }) => told.console.push(`${entry.level}: ${entry.text} ${entry.url ?? ''}`),
    'Network.requestWillBeSent': ({ request }) => told.requests.push(request.url),
    'Page.javascriptDialogOpening': ({ message }) => {
      told.dialogs.push(message);
      call('Page.handleJavaScriptDialog', { accept: true }).catch(() => {});
    },
  };
  sessions.set(sessionId, (method, params) => take[method]?.(params));
  return told;
}

function controls(call) {
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(`${exceptionDetails.exception?.description ?? exceptionDetails.text}\nin ${expression}`);
    return result.value;
  };
  /** Waits until an expression is true. */
  const until = async (expression, most = DEADLINE) => {
    const end = performance.now() + most;
    let last = null;
    while (performance.now() < end) {
      last = await evaluate(expression).catch((error) => error.message);
      if (last === true) return;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    throw new Error(`not within ${most} ms, last ${JSON.stringify(last)}: ${expression}`);
  };
  const node = (selector) => `document.querySelector(${JSON.stringify(selector)})`;
  return {
    call,
    evaluate,
    until,
    /** What a reader sees of an element; '' without one. */
    text: (selector) => evaluate(`${node(selector)}?.innerText ?? ''`),
    /** Waits until the text of an element matches. */
    says: (selector, pattern, most) => until(`${pattern}.test(${node(selector)}?.innerText ?? '') || (${node(selector)}?.innerText ?? null)`, most),
    count: (selector) => evaluate(`document.querySelectorAll(${JSON.stringify(selector)}).length`),
    focus: (selector) => evaluate(`${node(selector)}.focus()`),
    click: (selector) => evaluate(`${node(selector)}.click()`),
    /** Clicks the button with this text inside of an element. */
    press_button: (selector, text) =>
      evaluate(`[...document.querySelectorAll(${JSON.stringify(`${selector} button`)})].find((button) => button.textContent === ${JSON.stringify(text)}).click()`),
    choose: (selector, value) =>
      evaluate(`{ const select = ${node(selector)}; select.value = ${JSON.stringify(value)}; select.dispatchEvent(new Event('change')); }`),
    /** Waits until the hash matches: it follows the view at a distance. */
    hash: (pattern) => until(`${pattern}.test(location.hash) || location.hash`),
    async press(key, { shift = false } = {}) {
      const text = key === 'Enter' ? '\r' : key.length === 1 ? key : undefined;
      const params = { key, code: key, modifiers: shift ? 8 : 0, windowsVirtualKeyCode: KEY_CODES[key] ?? key.toUpperCase().charCodeAt(0) };
      await call('Input.dispatchKeyEvent', { type: 'keyDown', ...params, text });
      await call('Input.dispatchKeyEvent', { type: 'keyUp', ...params });
    },
    type: (text) => call('Input.insertText', { text }),
    /** Drags from one point to another, in steps as a hand would. */
    async drag([from_x, from_y], [to_x, to_y]) {
      const mouse = (type, x, y) => call('Input.dispatchMouseEvent', { type, x, y, button: 'left', buttons: type === 'mouseReleased' ? 0 : 1, clickCount: 1 });
      await mouse('mousePressed', from_x, from_y);
      for (let step = 1; step <= 5; step += 1) await mouse('mouseMoved', from_x + ((to_x - from_x) * step) / 5, from_y + ((to_y - from_y) * step) / 5);
      await mouse('mouseReleased', to_x, to_y);
    },
    move: (x, y) => call('Input.dispatchMouseEvent', { type: 'mouseMoved', x, y }),
    wheel: (x, y, by) => call('Input.dispatchMouseEvent', { type: 'mouseWheel', x, y, deltaX: 0, deltaY: by }),
    /** Where an element is, after it was scrolled into view: { left, top, width, height }. */
    box: (selector) => evaluate(`(() => {
      const node = ${node(selector)};
      node.scrollIntoView({ block: 'center' });
      const { left, top, width, height } = node.getBoundingClientRect();
      return { left, top, width, height };
    })()`),
  };
}
