// Requests to the service.

/** The answer of a path. A refusal is an error with the sentence that the service gives. */
export async function request(path, { signal, method = 'GET', as = 'json' } = {}) {
  let response;
  try {
    response = await fetch(path, { signal, method, credentials: 'same-origin', cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Error('The service does not answer.');
  }
  if (!response.ok) throw new Error(await refusal(response));
  if (as === 'bytes') return response.arrayBuffer();
  return as === 'text' ? response.text() : response.json();
}

/** The first line of a refusal: the service explains itself in plain text. */
export async function refusal(response) {
  const text = (await response.text().catch(() => '')).trim().split('\n', 1)[0].slice(0, 300);
  return text !== '' && !text.startsWith('<') ? text : `The service answers with status ${response.status}.`;
}
