// The profile panel in a browser: recording, flamegraph by keys, search, heatmap, difference, filter, limits and refusals.

import assert from 'node:assert/strict';
import { pageTest } from './page_test.mjs';

/** Records with the form as it is, and waits for the end. */
async function record(page) {
  await page.click('.flame-form .primary');
  await page.until("document.querySelector('.flame-bar').hidden");
}

const SHORT = { hash: () => '#profile_seconds=0.5' };
const focused = (page) => page.evaluate("document.activeElement.getAttribute('aria-label')");
const callers = (count) => `document.querySelectorAll('.is-caller').length === ${count}`;

pageTest('keys move and zoom in the flamegraph', SHORT, async (page) => {
  await record(page);
  await page.says('.flame-title', /^CPU time of news_pipeline: 2\.63 s/);
  await page.focus('.flame-box');
  assert.match(await focused(page), /^All, /);
  for (let level = 0; level < 4; level += 1) await page.press('ArrowDown');
  assert.match(await focused(page), /^serde_json::to_string, /);
  await page.press('ArrowUp');
  assert.match(await focused(page), /^news_pipeline::api::latest, /);
  await page.press('ArrowDown');
  await page.press('Enter');
  await page.until(callers(4));
  assert.match(await focused(page), /^serde_json::to_string, /, 'the focus stays after a zoom');
  await page.hash(/profile_zoom=/);
  await page.press('ArrowDown');
  await page.press('Enter');
  await page.until(callers(5));
  await page.press('Backspace');
  await page.until(callers(4));
  await page.press('Escape');
  await page.until(callers(0));
  await page.until("!location.hash.includes('profile_zoom')");
  await page.press_button('.flame-zoom', 'Forward');
  await page.until(callers(4));
  await page.press_button('.flame-zoom', 'Whole tree');
  await page.until(callers(0));
});

pageTest('a search finds functions, and goes from match to match', SHORT, async (page) => {
  await record(page);
  await page.focus('#flame-search');
  await page.type('drop');
  await page.says('.flame-matches', /^3 matches, /);
  await page.hash(/profile_search=drop/);
  await page.press('Enter');
  await page.press('Enter');
  await page.says('.flame-matches', /^2 of 3 /);
  await page.press('Enter', { shift: true });
  await page.says('.flame-matches', /^1 of 3 /);
  await page.says('#said', /^Match 1 of 3/);
  await page.click('#flame-invert');
  await page.hash(/profile_invert=1/);
});

pageTest('a time is selected in the heatmap, and two times are compared', SHORT, async (page) => {
  await record(page);
  await page.focus('.heatmap-plot');
  await page.press('Home');
  await page.press('ArrowRight', { shift: true });
  await page.press('Enter');
  await page.says('.flame-title', /0\.00 s to 1\.05 s/);
  await page.press_button('.flame-compare', 'Keep as A');
  await page.says('.flame-baseline', /^A is recording 1, CPU time, 0\.00 s to 1\.05 s/);
  const { left, top, width, height } = await page.box('.heatmap-canvas');
  await page.drag([left + width / 3 + 4, top + height - 30], [left + width - 5, top + 30]);
  await page.says('.flame-title', /1\.20 s to 2\.80 s/);
  await page.click('#flame-diff');
  await page.says('.flame-figure h3', /B minus A$/);
  await page.press_button('.flame-compare', 'Forget A');
  await page.press_button('.heatmap-range', 'Whole recording');
  await page.until("!/profile_from|profile_diff/.test(location.hash)");
});

pageTest('a filter that leaves nothing is told', SHORT, async (page) => {
  await record(page);
  await page.choose('#flame-runtime', await page.evaluate("document.querySelector('#flame-runtime').options[1].value"));
  await page.hash(/profile_runtime=/);
  await page.evaluate("location.hash = 'profile_task=gone'");
  await page.says('.flame-figure .flame-empty', /The filter leaves no samples/);
});

pageTest('a recording is stopped early, and at most four are kept', { hash: () => '#profile_seconds=60&profile_mode=wall' }, async (page) => {
  await page.click('.flame-form .primary');
  await page.says('.flame-counting', /^Recording: /);
  await page.press_button('.flame-bar', 'Stop');
  await page.until("document.querySelector('.flame-bar').hidden");
  await page.says('.flame-title', /^Wall-clock time/);
  await page.choose('#flame-mode', 'heap');
  for (let number = 2; number <= 5; number += 1) {
    await record(page);
    await page.until(`document.querySelector('.flame-recording input:checked')?.id === 'flame-recording-${number}'`);
  }
  assert.equal(await page.count('.flame-recording'), 4);
  await page.says('.flame-panel > p[role=status]', /dropped recording 1/);
  await page.says('.flame-panel', /This recording is a sum, so there is no heatmap of time/);
  for (let rest = 3; rest >= 0; rest -= 1) {
    await page.click('.flame-recording button');
    await page.until(`document.querySelectorAll('.flame-recording').length === ${rest}`);
  }
  assert.equal(await page.evaluate("document.querySelector('.flame-shown').hidden"), true);
  assert.equal(await page.evaluate('document.activeElement.textContent'), 'Record', 'the focus has a place after the last recording');
});

pageTest('refusals are told as sentences', { ...SHORT, loses_contact: true }, async (page, service) => {
  service.refuseProfiles({ status: 409, sentence: 'CPU time is being sampled in this process already; try again when that has ended' });
  await record(page);
  await page.says('.flame-error', /^CPU time is being sampled .* ended\.$/);
  service.refuseProfiles({ status: 501, sentence: 'the heap is not sampled: no allocator' });
  await record(page);
  await page.says('.flame-error', /^The heap is not sampled: no allocator\.$/);
  await page.evaluate("location.hash = 'profile_seconds=999'");
  await page.until("document.querySelector('#flame-seconds').value === '999'");
  await record(page);
  await page.says('.flame-error', /at most 300 seconds/);
  await page.evaluate("location.hash = 'profile_seconds=1'");
  await page.until("document.querySelector('#flame-seconds').value === '1'");
  await service.close();
  await record(page);
  await page.says('.flame-error', /^The service does not answer\.$/);
});
