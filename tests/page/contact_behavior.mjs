// The contact with the service in a browser: lost, back, silent, another process, and the end of a watch.

import assert from 'node:assert/strict';
import { pageTest } from './page_test.mjs';
import { startService } from './service.mjs';

const LIVE = /Live/;
const LOST = /Contact lost since \d\d:\d\d:\d\d/;

/** How often the page has asked for the stalls. */
const asked = (page) => page.requests.filter((request) => request.endsWith('/debug/holdup/stalls')).length;

const nextFrame = (page) => page.evaluate('new Promise(requestAnimationFrame).then(() => 0)');

pageTest('the clock counts, stops without contact, and counts again', { scenario: 'one', loses_contact: true }, async (page, service) => {
  await page.says('#contact', LIVE);
  const clock = "document.querySelector('.clock').innerText";
  await page.until(`${clock} !== ${JSON.stringify(await page.text('.clock'))}`);
  await service.close();
  await page.says('#contact', LOST);
  await page.says('.headline', /At the last contact, 1 worker was held up/);
  // The clock would have moved within these frames.
  const texts = await page.evaluate(`(async () => {
    const texts = new Set();
    for (let frame = 0; frame < 20; frame += 1) {
      await new Promise(requestAnimationFrame);
      texts.add(${clock});
    }
    return [...texts];
  })()`);
  assert.equal(texts.length, 1, texts.join());

  const again = await startService({ scenario: 'one', port: service.port, pid: 4241 });
  try {
    await page.says('#contact', LIVE);
    await page.says('.headline', /1 worker is held up now/);
    await page.says('.whose', /process 4241/);
  } finally {
    await again.close();
  }
});

pageTest('the stalls of another process are shown, also under the same version', { loses_contact: true }, async (page, service) => {
  await page.until("document.querySelectorAll('#stalls .group').length === 5");
  // The page has asked again for the version that the stream has announced, and a later request has been answered.
  while (asked(page) < 2) await nextFrame(page);
  await page.evaluate("fetch('/debug/holdup/stalls').then((answer) => answer.text()).then(() => new Promise(requestAnimationFrame))");
  await service.close();
  await page.says('#contact', LOST);
  // The page hears of the stalls before it hears that the process is another one.
  const again = await startService({ scenario: 'many', port: service.port, pid: 4241, timeline_delay: 500 });
  try {
    await page.says('.whose', /process 4241/);
    await page.until("document.querySelectorAll('#stalls .group').length === 20");
  } finally {
    await again.close();
  }
});

pageTest('a service that says nothing has lost contact, until it speaks again', { scenario: 'one', loses_contact: true }, async (page, service) => {
  await page.says('#contact', LIVE);
  service.fallSilent();
  await page.says('#contact', LOST);
  service.speakAgain();
  await page.says('#contact', LIVE);
});

pageTest('the end of a watch is told, and stays', { scenario: 'quiet', loses_contact: true }, async (page, service) => {
  await page.says('#contact', LIVE);
  await service.sayGoodbye();
  await page.says('#contact', /The watch ended at \d\d:\d\d:\d\d/);
  // The refused attempts that follow change nothing.
  const before = page.requests.length;
  while (page.requests.length === before) await nextFrame(page);
  assert.match(await page.text('#contact'), /The watch ended at/);
});

pageTest('stalls are asked for again when the service announces others', { scenario: 'normal' }, async (page, service) => {
  await page.until("document.querySelectorAll('#stalls .group').length > 0");
  const before = asked(page);
  service.announceStalls();
  while (asked(page) === before) await nextFrame(page);
});
