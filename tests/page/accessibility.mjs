// axe-core over the page in several states. HOLDUP_AXE names its file axe.min.js; `scripts/page_tests` gets it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { pageTest } from './page_test.mjs';

const AXE = readFileSync(process.env.HOLDUP_AXE, 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** The violations, in words. */
const RUN = `axe.run(document, { resultTypes: ['violations'], runOnly: ${JSON.stringify(RULES)} }).then(({ violations }) => violations.map(({ id, help, nodes }) => ({
  id, help, nodes: nodes.slice(0, 4).map(({ html, failureSummary }) => html.slice(0, 160) + ' :: ' + failureSummary.slice(0, 240)),
})))`;

/** Opens what can be opened, and waits until it is there. */
async function openAll(page) {
  await page.until("document.querySelector('#stalls .toggle') !== null");
  await page.click('#stalls .toggle');
  await page.click('#tasks .primary');
  await page.until("document.querySelectorAll('.entry').length > 0 && document.querySelectorAll('#tasks tbody tr').length > 3");
  await page.click('#tasks .link');
  await page.says('.drill', /polled in/);
  await page.click('.flame-form .primary');
  await page.until("document.querySelectorAll('.flame-box').length > 3");
  await page.evaluate("document.querySelectorAll('main details').forEach((details) => { details.open = true; })");
  await page.until("document.querySelectorAll('#lanes tbody tr').length > 0");
}

/** Each with what is done before axe looks. */
const STATES = [
  ['a stuck worker', { scenario: 'one' }, openAll],
  ['a stuck worker, dark, on a phone', { scenario: 'one', width: 390, dark: true }, openAll],
  ['hostile names, dark', { scenario: 'hostile', width: 1024, dark: true }, openAll],
  ['a thousand stalls', { scenario: 'many' }, openAll],
  ['no worker', { scenario: 'quiet', workers: 0 }, (page) => page.says('#contact', /Live/)],
  ['without contact', { loses_contact: true }, async (page, service) => {
    await page.says('#contact', /Live/);
    await service.close();
    await page.says('#contact', /Contact lost/);
  }],
];

/** A short time is selected, because axe looks at each cell of the tables. */
const hash = () => `#from=${Date.now() - 20_000}&to=${Date.now()}&profile_seconds=0.5`;

for (const [name, options, prepare] of STATES) {
  pageTest(`axe finds nothing: ${name}`, { ...options, hash }, async (page, service) => {
    await prepare(page, service);
    await page.evaluate(AXE);
    assert.deepEqual(await page.evaluate(RUN), []);
  });
}
