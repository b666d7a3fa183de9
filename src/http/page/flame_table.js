// The flamegraph as a table: the functions with their own and total amounts.

import { functionsBelow } from './flame_functions.js';
import { amount, changeMark, originText, placeText, shareOf, signed } from './flame_text.js';
import { plural } from './format.js';

export function createFunctionTable(app) {
  const { el, setText } = app.dom;
  let shown = null;
  const value = (number) => amount(number, shown.unit);
  const difference = (now, before) => `${changeMark(now - before)} ${signed(now - before, shown.unit)}`;
  const common = [{ title: 'Function', cell: (row) => app.dom.code(row.name, 200) }];
  const end = [
    { title: 'Code', cell: (row) => originText(row.origin) },
    { title: 'Place', cell: (row) => app.dom.breakable(placeText(row)) },
  ];
  const single = app.dom.table('Functions by own amount', [
    ...common,
    { title: 'Own', class: 'n', cell: (row) => value(row.self) },
    { title: 'Own share', class: 'n', cell: (row) => shareOf(row.self, shown.tree.total) },
    { title: 'Total', class: 'n', cell: (row) => value(row.total) },
    { title: 'Total share', class: 'n', cell: (row) => shareOf(row.total, shown.tree.total) },
    ...end,
  ], { class: 'flame-table' });
  const compared = app.dom.table('Functions by the change of their own amount', [
    ...common,
    { title: 'Own, B − A', class: 'n', cell: (row) => difference(row.self, row.base_self) },
    { title: 'Own, A', class: 'n', cell: (row) => value(row.base_self) },
    { title: 'Own, B', class: 'n', cell: (row) => value(row.self) },
    { title: 'Total, B − A', class: 'n', cell: (row) => difference(row.total, row.base_total) },
    ...end,
  ], { class: 'flame-table' });
  const note = el('p', { class: 'faint' });
  const holder = el('div', {}, single.node, compared.node, note);

  const view = app.dom.asTable('Functions of the flamegraph', holder, () => {
    if (!shown) return;
    const is_difference = shown.tree.root.base !== null;
    const { rows, left_out } = functionsBelow(shown.tree.root);
    single.node.hidden = is_difference;
    compared.node.hidden = !is_difference;
    (is_difference ? single : compared).update([]);
    (is_difference ? compared : single).update(rows);
    setText(note, left_out > 0 ? `The table leaves out ${plural(left_out, 'function')} with less own amount.` : '');
  });
  return {
    node: view.node,
    update(next) {
      shown = next;
      if (next) view.refresh();
    },
  };
}
