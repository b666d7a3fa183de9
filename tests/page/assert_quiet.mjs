// What must hold for a page at the end of each test.

import assert from 'node:assert/strict';

/** The page told of no error, and asked nobody but its service. */
export function assertQuiet(page, url, { loses_contact = false } = {}) {
  assert.deepEqual(page.errors, []);
  assert.deepEqual(page.dialogs, []);
  const lost = /^error: Failed to load resource: (net::ERR_|the server responded with a status of (409|501))/;
  assert.deepEqual(page.console.filter((line) => !(loses_contact && lost.test(line))), []);
  assert.deepEqual(page.requests.filter((request) => !request.startsWith(url) && !request.startsWith('data:')), []);
}
