/**
 * Launch: what the page was opened with, in the shapes of getPluginEnterOptions and getPluginOnloadOptions.
 */

/**
 * A query as a plain object. Takes an object, a text with or without the question mark, and repairs ampersands
 * that some launcher escaped (`&amp;`, `%26amp%3B`).
 */
export function parseQuery(query) {
  if (query && typeof query === 'object') return { ...query };
  const text = String(query ?? '')
    .replace(/^\?/, '')
    .replace(/%26amp%3B|&amp;/gi, '&');
  return Object.fromEntries(new URLSearchParams(text));
}

export class Launch {
  #entered = { path: '', query: {}, scene: 0 };
  #loaded = {};

  constructor(location = globalThis.location) {
    if (!location) return;
    this.#entered = { path: location.pathname, query: parseQuery(location.search), scene: 0 };
    this.#loaded = this.#entered.query;
  }

  /** How the application was entered; not refreshed by later ring notices. */
  enterOptions() {
    return structuredClone(this.#entered);
  }

  /** The query of the call page, with what the latest ring notice added. */
  onloadOptions() {
    return structuredClone(this.#loaded);
  }

  /** The query a ring notice opens the call page with. */
  rang(roomId, data) {
    this.#loaded = {
      ...parseQuery(data.query),
      roomType: data.roomType,
      roomId,
      groupId: roomId,
      callerId: data.callerId,
      callerName: data.callerName ?? '',
      listenerId: data.listenerId,
    };
  }
}
