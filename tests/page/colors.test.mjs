import assert from 'node:assert/strict';
import test from 'node:test';
import { readFileSync } from 'node:fs';

const css = readFileSync(new URL('../../src/http/page/page.css', import.meta.url), 'utf8');
const DEFINITION = /--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g;
const colors = new Map([...css.matchAll(DEFINITION)].map(([, name, light, dark]) => [name, [light, dark]]));

/** The relative luminance of WCAG. */
function luminance(hex) {
  const linear = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function hasContrast(names, grounds, least) {
  for (const theme of [0, 1]) {
    for (const name of names) {
      for (const ground of grounds) {
        const [low, high] = [name, ground].map((color) => luminance(colors.get(color)[theme])).sort((a, b) => a - b);
        const contrast = (high + 0.05) / (low + 0.05);
        assert.ok(contrast >= least, `${name} on ${ground}, ${['light', 'dark'][theme]}: ${contrast}`);
      }
    }
  }
}

test('colors of text have a contrast of 4.5', () => {
  hasContrast(['ink', 'faint', 'stall-ink', 'select', 'good', 'warn'], ['paper', 'panel', 'sunk'], 4.5);
  hasContrast(['ink', 'faint', 'stall-ink', 'select'], ['stall-paper'], 4.5);
  hasContrast(['on-select'], ['select'], 4.5);
});

test('colors of graphics have a contrast of 3', () => {
  const tasks = Array.from({ length: 10 }, (_, index) => `task-${index}`);
  hasContrast(['stall', 'edge', 'between', 'select', ...tasks], ['panel', 'lane'], 3);
});
