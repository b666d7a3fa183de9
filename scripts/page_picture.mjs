// Takes the picture of the live page for docs/pictures: node scripts/page_picture.mjs URL FILE FUNCTION
//
// It waits until the page shows that FUNCTION holds a worker up. `scripts/pictures page` starts the service, and uses this.

import { writeFileSync } from 'node:fs';

import { launch } from '../tests/page/browser.mjs';

/** The top of the page: held-up workers, lanes and the first stalls. */
const [WIDTH, HEIGHT] = [1180, 1010];

/** The lanes need some seconds to show. */
const FULL = 12_000;

const [url, file, name] = process.argv.slice(2);
const browser = await launch();
try {
  const page = await browser.open(url, { width: WIDTH, height: HEIGHT });
  await new Promise((resolve) => setTimeout(resolve, FULL));
  await page.until(`document.getElementById('held').textContent.includes(${JSON.stringify(name)})`);
  const { data } = await page.call('Page.captureScreenshot', { format: 'png' });
  writeFileSync(file, Buffer.from(data, 'base64'));
} finally {
  await browser.close();
}
