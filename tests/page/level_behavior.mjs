// A page that stays open keeps no more nodes, listeners and memory than it has after its first minute.

import assert from 'node:assert/strict';
import { pageTest } from './page_test.mjs';

const options = { scenario: 'all-stuck', workers: 100, held_every: 20, timeline_every: 60 };

pageTest('nodes, listeners and memory stay level', options, async (page, service) => {
  await page.call('Performance.enable');
  await page.until("document.querySelectorAll('#held .card').length > 0 && document.querySelectorAll('#stalls .toggle').length > 1");
  await page.evaluate("document.querySelectorAll('#stalls .toggle')[1].click()");
  await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })");

  /** Waits for so many events more. */
  const follow = async (events) => {
    const end = service.events() + events;
    while (service.events() < end) await page.evaluate('new Promise(requestAnimationFrame).then(() => 0)');
  };
  const measure = async () => {
    await page.evaluate('gc(); gc()');
    const { metrics } = await page.call('Performance.getMetrics');
    return Object.fromEntries(metrics.map(({ name, value }) => [name, value]));
  };
  await follow(150);
  const before = await measure();
  await follow(350);
  const after = await measure();
  const shown = ({ Nodes, JSEventListeners, JSHeapUsedSize }) => `${Nodes} nodes, ${JSEventListeners} listeners, ${(JSHeapUsedSize / 2 ** 20).toFixed(1)} MiB`;
  console.log(`100 stuck workers, all tables open: ${shown(before)}; 350 events later: ${shown(after)}`);
  assert.ok(after.Nodes <= before.Nodes * 1.05 + 200);
  assert.ok(after.JSEventListeners <= before.JSEventListeners + 20);
  assert.ok(after.JSHeapUsedSize <= before.JSHeapUsedSize * 1.15 + 3e6);
});
