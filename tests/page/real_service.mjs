// The page in a browser against a real service: HOLDUP_AXUM_MISTAKES names the program of examples/axum_mistakes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { basename } from 'node:path';
import test, { after, before } from 'node:test';
import { assertQuiet } from './assert_quiet.mjs';
import { launch } from './browser.mjs';

const PROGRAM = process.env.HOLDUP_AXUM_MISTAKES;
const NAME = basename(PROGRAM ?? '');
const FUNCTION = 'axum_mistakes::handlers::catalogue';

/** Nobody waits longer for a page that is called live. */
const LATEST = 2000;

const DEADLINE = 30_000;

let browser = null;
const services = new Set();
before(async () => { browser = await launch(); });
after(async () => {
  for (const service of services) service.kill('SIGKILL');
  await browser?.close();
});

/** Starts the program; the answer has the URLs that it prints, and `kill()`. */
async function start(diagnostics) {
  const child = spawn(PROGRAM, ['127.0.0.1:0', diagnostics], { stdio: ['ignore', 'pipe', 'pipe'] });
  services.add(child);
  const exited = new Promise((resolve) => child.once('close', resolve));
  let printed = '';
  let log = '';
  child.stderr.on('data', (text) => { log = (log + text).slice(-4000); });
  const urls = await new Promise((resolve, reject) => {
    const fail = (what) => reject(new Error(`${PROGRAM} ${what}; it printed ${printed}${log}`));
    const timer = setTimeout(fail, DEADLINE, 'does not listen in time');
    child.once('error', (error) => fail(error.message));
    child.once('close', () => fail('has ended'));
    child.stdout.on('data', (text) => {
      printed += text;
      const url = (what) => printed.match(new RegExp(`${what} on (http://[^/\\s]+/)`))?.[1];
      if (!url('diagnostics') || !url('listening')) return;
      clearTimeout(timer);
      resolve({ page: url('diagnostics'), api: url('listening') });
    });
  });
  return {
    ...urls,
    async kill() {
      child.kill('SIGKILL');
      await exited;
      services.delete(child);
    },
  };
}

const get = async (url) => (await fetch(url, { signal: AbortSignal.timeout(DEADLINE) })).arrayBuffer();

/** Makes requests, one after another, while `work` runs. */
async function whileAsking(url, work) {
  let is_done = false;
  const asking = (async () => {
    while (!is_done) await get(url);
  })();
  try {
    await work();
  } finally {
    is_done = true;
  }
  await asking;
}

/** From now on, the page notes when a card of the function appears, and what its clock shows. */
const WATCH_CARDS = `{
  window.seen = { at: null, clocks: [] };
  const look = () => {
    const card = [...document.querySelectorAll('#held .card')].find((card) => card.innerText.includes('${FUNCTION}'));
    if (!card) {
      // It was too short to count. The next one is another stall.
      if (window.seen.clocks.length < 2) window.seen = { at: null, clocks: [] };
      return;
    }
    window.seen.at ??= Date.now();
    const clock = card.querySelector('.clock').textContent;
    if (window.seen.clocks.at(-1) !== clock) window.seen.clocks.push(clock);
  };
  new MutationObserver(look).observe(document.querySelector('#held'), { subtree: true, childList: true, characterData: true });
}`;

async function showsStallWhileItLasts(page, service) {
  // For its first stall, the service reads the symbols of the program, which takes long in a debug build.
  const asked_at = performance.now();
  await whileAsking(`${service.api}catalogue`, () => page.says('#stalls', new RegExp(FUNCTION), DEADLINE));
  console.log(`The first stall was listed ${(performance.now() - asked_at).toFixed(0)} ms after its request.`);
  await page.says('.headline', /^Nothing is held up now\./);
  await page.evaluate(WATCH_CARDS);
  // One after another, so that the newest stall of the list is the one that was seen.
  const end = performance.now() + DEADLINE;
  do await get(`${service.api}catalogue`);
  while (!(await page.evaluate('window.seen.clocks.length >= 2')) && performance.now() < end);
  await page.says('.headline', /^Nothing is held up now\. [1-9]\d* stalls? so far\./);
  assert.equal(await page.count('#held .card'), 0, 'the card goes when the stall has ended');

  const { at, clocks } = await page.evaluate('window.seen');
  assert.ok(clocks.length >= 2, `the clock counts while the worker is held up: ${clocks.join(', ')}`);
  const seconds = clocks.map((clock) => Number.parseFloat(clock));
  assert.deepEqual(seconds, [...seconds].sort((a, b) => a - b), `the clock counts on: ${clocks.join(', ')}`);
  const { stalls } = await (await fetch(`${service.page}debug/holdup/stalls`)).json();
  const stall = stalls.find(({ culprit }) => culprit?.function === FUNCTION);
  const [from_beginning, from_noticing] = [at - stall.began_unix_ms, at - stall.noticed_unix_ms];
  console.log(`The page showed the stall ${from_noticing.toFixed(0)} ms after it was noticed, ${from_beginning.toFixed(0)} ms after it began; `
    + `it took ${stall.duration_ms.toFixed(0)} ms, and the clock showed ${clocks.length} times from ${clocks[0]} to ${clocks.at(-1)}.`);
  assert.ok(from_beginning > 0 && from_noticing < LATEST);
}

async function showsStallAfterwards(page) {
  await page.evaluate("document.querySelector('#lanes details').open = true");
  // Columns: worker, thread, polling, of it stalled.
  await page.until("[...document.querySelectorAll('#lanes tbody tr')].some((row) => Number.parseFloat(row.cells[3].textContent) > 0)");
  await page.says('#stalls .group', new RegExp(FUNCTION));
  await page.click('#stalls .toggle');
  await page.says('.entry', /Where[\s\S]*handlers\.rs:\d+[\s\S]*Evidence[\s\S]*on a CPU/);
}

async function recordsProfile(page, service) {
  await page.evaluate("location.hash = 'profile_seconds=1'");
  await page.until("document.querySelector('#flame-seconds').value === '1'");
  await whileAsking(`${service.api}catalogue`, async () => {
    await page.click('.flame-form .primary');
    await page.until("document.querySelector('.flame-bar').hidden", DEADLINE);
  });
  assert.equal(await page.text('.flame-error'), '');
  await page.says('.flame-title', new RegExp(`^CPU time of ${NAME}: `));
  await page.until("document.querySelectorAll('.flame-box').length > 3");
  await page.focus('#flame-search');
  await page.type('catalogue');
  await page.says('.flame-matches', /^[1-9]\d* match(es)?, /);
  assert.ok(await page.count('.flame-box.is-match') > 0);
}

async function countsTasksAndNumbers(page, service) {
  await whileAsking(`${service.api}remind`, async () => {
    await page.click('#tasks .primary');
    await page.until("document.querySelectorAll('#tasks tbody tr').length > 0");
  });
  await page.until("document.querySelectorAll('#numbers canvas').length >= 5");
  await page.says('#check', /task polls[\s\S]*of one core now/i);
}

test('the page shows what a real service does', { timeout: 120_000 }, async () => {
  assert.ok(PROGRAM, 'HOLDUP_AXUM_MISTAKES names the program to observe.');
  const service = await start('127.0.0.1:0');
  const page = await browser.open(service.page);
  await page.says('#contact', new RegExp(`^${NAME} process \\d+\\s+Live$`));
  await page.until("document.querySelector('.flame-form') !== null");
  await showsStallWhileItLasts(page, service);
  await showsStallAfterwards(page);
  await recordsProfile(page, service);
  await countsTasksAndNumbers(page, service);
  await page.says('.headline', /^Nothing is held up now\./);
  assertQuiet(page, service.page);

  await service.kill();
  await page.says('#contact', /Contact lost since \d\d:\d\d:\d\d/);
  await page.says('.headline', /^At the last contact, nothing was held up\./);

  const again = await start(new URL(service.page).host);
  await page.says('#contact', /Live/);
  await page.says('.headline', /^Nothing is held up now\. No stall so far\./);
  await page.says('#stalls', /No stall so far/);
  assertQuiet(page, service.page, { loses_contact: true });
  await again.kill();
  await page.close();
});
