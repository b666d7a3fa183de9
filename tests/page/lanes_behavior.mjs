// The lanes in a browser: keys, pointer, wheel, and the state in the URL.

import assert from 'node:assert/strict';
import { pageTest } from './page_test.mjs';

const DRAWN = "document.querySelector('.lanes-canvas')?.width > 300";

pageTest('keys zoom, pan and select, and the URL shows the same view elsewhere', {}, async (page, service, browser) => {
  await page.until(DRAWN);
  await page.focus('.lanes-scroll');
  for (const key of ['+', '+', 'ArrowLeft']) await page.press(key);
  await page.hash(/end=\d{13}.*span=7\d{4}/);
  await page.press('Enter');
  await page.hash(/from=\d{13}/);
  await page.says('#selection', /Selected time/);

  const other = await browser.open(service.url + await page.evaluate('location.hash'));
  await other.until(DRAWN);
  await other.says('#selection', /Selected time/);
  await other.until(`document.querySelector('.range').innerText === ${JSON.stringify(await page.text('.range'))}`);
  await other.close();

  await page.press('Escape');
  await page.press('Home');
  await page.hash(/^$/);
});

pageTest('a drag selects a time, which scopes the stalls, and the wheel zooms', {}, async (page) => {
  await page.until(DRAWN);
  await page.until("document.querySelectorAll('#stalls .group').length > 0");
  const { left, top, width } = await page.box('.lanes-scroll');
  await page.drag([left + width * 0.5, top + 20], [left + width * 0.7, top + 20]);
  await page.hash(/from=\d{13}.*to=\d{13}/);
  const state = new URLSearchParams(await page.evaluate('location.hash.slice(1)'));
  assert.ok(state.get('to') - state.get('from') > 40_000);
  await page.says('#stalls [role=status]', /of \d+ entries match/);

  // The line of the selection has moved the lanes.
  const moved = await page.box('.lanes-scroll');
  const [x, y] = [left + width * 0.5, moved.top + 20];
  await page.move(x, y);
  await page.says('.readout', /worker|block_on/);
  // For a moment after the page has scrolled, a wheel scrolls it on: so the wheel is turned until it zooms.
  for (let turn = 0; turn < 500 && !/span=/.test(await page.evaluate('location.hash')); turn += 1) await page.wheel(x, y, -30);
  await page.hash(/span=/);
  await page.press_button('#lanes', 'Zoom to selection');
  await page.evaluate("document.querySelector('#lanes details').open = true");
  await page.until("document.querySelectorAll('#lanes tbody tr').length === 4");
  await page.click('#selection button');
  await page.until("document.querySelector('#selection').hidden");
});

pageTest('the charts show the numbers of the service', {}, async (page) => {
  await page.until("document.querySelectorAll('#numbers canvas').length >= 7");
  await page.says('#numbers', /Busy workers[\s\S]*Alive tasks[\s\S]*Memory/);
  await page.says('#check', /Every poll of every task[\s\S]*of one core now/);
});
