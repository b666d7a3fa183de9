// What the looks of boxes mean. Each look differs in more than its color.

import { ORIGINS } from './flame_text.js';

const CHANGES = [['is-more', '▲ more in B'], ['is-less', '▼ less in B'], ['is-same', '= no change']];

export function createLegend(app) {
  const { el } = app.dom;
  const entry = (look, text) => el('li', {}, el('span', { class: `flame-swatch ${look}`, 'aria-hidden': 'true' }), el('span', { class: look === 'of-user' ? 'flame-strong' : null, text }));
  const node = el('ul', { class: 'flame-legend', 'aria-label': 'Legend' });
  return {
    node,
    show({ is_difference, scale, recording }) {
      if (!is_difference) {
        const origins = new Set(recording.functions.map((code) => code.origin));
        node.replaceChildren(...ORIGINS.filter(([origin]) => origins.has(origin)).map(([origin, text]) => entry(`of-${origin}`, text)));
        return;
      }
      const notes = ['The width is the mean of A and B.'];
      if (Math.abs(scale - 1) > 0.005) notes.push(`A is multiplied by ${scale.toFixed(2)}, because B is ${scale > 1 ? 'longer' : 'shorter'}.`);
      node.replaceChildren(...CHANGES.map(([look, text]) => entry(look, text)), ...notes.map((text) => el('li', { text })));
    },
  };
}
