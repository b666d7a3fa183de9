// A test of the page in a browser against the service of the tests: `pageTest(name, options, async (page, service) => { … })`.

import test, { after, before } from 'node:test';
import { assertQuiet } from './assert_quiet.mjs';
import { launch } from './browser.mjs';
import { startService } from './service.mjs';

/** A test that waits longer has failed, also on a busy machine. */
const LONGEST = 90_000;

let browser = null;
before(async () => { browser = await launch(); });
after(() => browser?.close());

/**
 * `options`: those of the service, those of the page, and `hash()`. `loses_contact`: the browser may complain about connections and refusals.
 * A test leaves no message in the console, and asks no other origin.
 */
export function pageTest(name, options, run) {
  test(name, { timeout: LONGEST }, async () => {
    const service = await startService(options);
    const page = await browser.open(service.url + (options.hash?.() ?? ''), options);
    try {
      // The last part of the page to be there.
      await page.until("document.querySelector('.flame-form') !== null");
      await run(page, service, browser);
      assertQuiet(page, service.url, options);
    } finally {
      await page.close();
      await service.close();
    }
  });
}
