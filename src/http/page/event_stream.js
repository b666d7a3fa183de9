// Server-sent events from the text of a response, piece by piece. A comment is reported as an event without a name, because it
// shows that the service is alive; the browser's own EventSource hides comments and the sentence of a refusal.

/** An event that is longer is not from the service. */
const LONGEST_EVENT = 64 * 1024 * 1024;

/** `take(piece)` calls `tell(name, data)` for each complete event in the text so far. */
export function createEventParser(tell) {
  let rest = '';
  let name = 'message';
  let data = [];
  return function take(piece) {
    rest += piece;
    if (rest.length > LONGEST_EVENT) throw new Error('The service sent an event that is too long.');
    let start = 0;
    for (;;) {
      const end = rest.indexOf('\n', start);
      if (end < 0) break;
      const line = rest.slice(start, rest[end - 1] === '\r' ? end - 1 : end);
      start = end + 1;
      if (line === '') {
        if (data.length > 0) tell(name, data.join('\n'));
        [name, data] = ['message', []];
      } else if (line.startsWith(':')) {
        tell(null, line.slice(1));
      } else {
        const colon = line.indexOf(':');
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
        if (field === 'event') name = value;
        if (field === 'data') data.push(value);
      }
    }
    rest = rest.slice(start);
  };
}
