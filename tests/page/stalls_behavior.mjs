// Stalls and tasks in a browser: search, filters, details, counting, and names that try to be more than text.

import assert from 'node:assert/strict';
import { pageTest } from './page_test.mjs';

pageTest('stalls are searched, filtered and opened, and select their time', { scenario: 'many' }, async (page) => {
  await page.until("document.querySelectorAll('#stalls .group').length === 20");
  await page.focus('#stall-search');
  for (const key of 'part_3::') await page.press(key);
  await page.hash(/search=part_3/);
  await page.until("document.querySelectorAll('#stalls .group').length < 20");
  await page.choose('#stall-cause', 'sleeping');
  await page.until("document.querySelectorAll('#stalls .group').length === 1");
  await page.focus('.toggle');
  await page.press('Enter');
  await page.says('.entry', /Evidence[\s\S]*Advice/);
  await page.evaluate("document.querySelector('.entry details:last-of-type').open = true");
  await page.until("document.querySelectorAll('.stack li').length > 10");
  await page.click('.entry-foot button');
  await page.hash(/from=\d{13}/);
});

pageTest('a quiet service has sentences instead of empty tables', { scenario: 'quiet' }, async (page) => {
  await page.says('.headline', /^Nothing is held up now\. No stall so far\.$/);
  await page.says('#stalls', /No stall so far/);
  await page.says('#tasks', /Tasks are not counted yet/);
  await page.click('#tasks .primary');
  await page.says('#tasks', /No task was polled while counting/);
  await page.says('#numbers', /only in a build with tokio_unstable/);
});

pageTest('tasks are counted, grow, and open', {}, async (page) => {
  await page.until("document.querySelector('#tasks .primary') !== null");
  await page.click('#tasks .primary');
  await page.until("document.querySelectorAll('#tasks tbody tr').length > 3");
  await page.click('#tasks .primary');
  await page.says('#tasks tbody tr td:nth-child(3)', /^[+−0]/);
  await page.click('#tasks .link');
  await page.says('.drill', /polled in/);
  await page.hash(/spawn=/);
});

pageTest('hostile names stay text, and fit every width', { scenario: 'hostile' }, async (page) => {
  await page.until("document.querySelectorAll('#held .card').length === 3");
  await page.until("document.querySelectorAll('#stalls .toggle').length >= 4");
  await page.click('#tasks .primary');
  await page.until("document.querySelectorAll('#tasks tbody tr').length > 3");
  const groups = await page.count('#stalls .toggle');
  for (let group = 0; group < groups; group += 1) {
    await page.evaluate(`document.querySelectorAll('#stalls .toggle')[${group}].click()`);
    await page.until("document.querySelectorAll('.entry').length > 0 && document.querySelectorAll('.details-row:not([hidden])').length === 1");
    await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
    await page.until("document.querySelectorAll('#lanes tbody tr').length === 4");
    assert.equal(await page.evaluate("document.querySelectorAll('img, main script').length"), 0);
    const reversed = "[...document.querySelectorAll('body *')].filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.includes('\\u202e'))).map((node) => node.outerHTML.slice(0, 200))";
    assert.deepEqual(await page.evaluate(reversed), []);
  }
  for (const width of [390, 1024, 1920]) {
    await page.resize(width);
    await page.until(`innerWidth === ${width} && document.documentElement.scrollWidth <= innerWidth`);
  }
});
