// Asks the viewer's server.

/**
 * Return the JSON at `path`. Throws an Error with the server's own message.
 * @type {(path: string, query?: URLSearchParams, signal?: AbortSignal) => Promise<Json>}
 */
export async function ask(path, query, signal) {
  const base = document.getElementById('dashboard')?.dataset.prefix;
  let answer;
  try {
    answer = await fetch(`${base}/data/${path}${query ? `?${query}` : ''}`, { signal });
  } catch (error) {
    if (error instanceof Error && error.name === 'AbortError') throw error;
    throw new Error('The viewer does not answer. See whether the stack still runs: cvat-analytics status');
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.message ?? `The viewer answered ${answer.status}`);
  return body;
}

/**
 * Return what an error says.
 * @type {(error: unknown) => string}
 */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));
