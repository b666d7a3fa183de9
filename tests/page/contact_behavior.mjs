// The contact with the service in a browser: lost, back, silent, another process, and the end of a watch.

import assert from 'node:assert/strict';
import { pageTest } from './page_test.mjs';
import { startService } from './service.mjs';

const LIVE = /Live/;
const LOST = /Contact lost since \d\d:\d\d:\d\d/;

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
    // The version of the stalls is the same as before, but they are another process's.
    await page.until("document.querySelectorAll('#stalls .group').length > 0");
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
  const asked = page.requests.length;
  while (page.requests.length === asked) await page.evaluate('new Promise(requestAnimationFrame).then(() => 0)');
  assert.match(await page.text('#contact'), /The watch ended at/);
});

pageTest('stalls are asked for again when the service announces others', { scenario: 'normal' }, async (page, service) => {
  await page.until("document.querySelectorAll('#stalls .group').length > 0");
  const asked = () => page.requests.filter((request) => request.endsWith('/debug/holdup/stalls')).length;
  const before = asked();
  service.announceStalls();
  while (asked() === before) await page.evaluate('new Promise(requestAnimationFrame).then(() => 0)');
});
