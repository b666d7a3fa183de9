// A function's name in a box that may be too narrow for it.

/**
 * A name with at most `room` characters, cut in the middle: its beginning says whose it is, and its end names the function. First
 * the trait goes: of `<a::Type as b::Trait>::method`, the type tells apart.
 */
export function fittedName(name, room) {
  if (name.length <= room) return name;
  const plain = withoutTrait(name);
  if (plain.length <= room) return plain;
  if (room < 3) return '';
  const starts = segments(plain);
  const last = plain.slice(starts.at(-1));
  if (last.length > room) return middle(last, room, Math.ceil((room - 1) * 0.6));
  if (last.length > room - 4) return last;
  // As many last segments as fit, if a beginning fits, too.
  const tail = starts.map((start) => plain.length - start).find((length) => length <= Math.max(last.length, (room - 1) * 0.7));
  return middle(plain, room, tail);
}

function middle(text, room, tail) {
  const head = text.slice(0, room - 1 - tail).replace(/[\ud800-\udbff]$/, '');
  return `${head}…${text.slice(text.length - tail).replace(/^[\udc00-\udfff]/, '')}`;
}

/** Positions outside brackets. A closing bracket without its opening one is outside. */
function outside(text) {
  const places = [];
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    if (depth === 0) places.push(i);
    if ('<([{'.includes(text[i])) depth += 1;
    else if ('>)]}'.includes(text[i]) && !(text[i] === '>' && text[i - 1] === '-')) depth = Math.max(0, depth - 1);
  }
  return places;
}

/** Where the segments of a path begin. `{closure}` belongs to the segment before it. */
function segments(path) {
  return [0, ...outside(path).filter((at) => path.startsWith('::', at) && path[at + 2] !== '{').map((at) => at + 2)];
}

function withoutTrait(name) {
  if (name[0] !== '<') return name;
  const inside = name.slice(1);
  const end = outside(inside).find((at) => inside[at] === '>');
  if (end === undefined) return name;
  const whole = inside.slice(0, end);
  const as = outside(whole).find((at) => whole.startsWith(' as ', at)) ?? whole.length;
  const type = whole.slice(0, as).replace(/^[&* ]+/, '').replace(/^(mut |const |dyn )+/, '');
  return withoutTrait(type) + inside.slice(end + 1);
}
