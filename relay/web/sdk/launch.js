/**
 * Launch: what the page was opened with, in the shapes of getPluginEnterOptions and getPluginOnloadOptions.
 */
import { entered, pageQuery } from './runtime.js';

/**
 * A query as a plain object. Takes an object, a text with or without the question mark, and repairs ampersands
 * that some launcher escaped (`&amp;`, `%26amp%3B`).
 */
export function parseQuery(given) {
  if (given && typeof given === 'object') return { ...given };
  const text = String(given ?? '')
    .replace(/^\?/, '')
    .replace(/%26amp%3B|&amp;/gi, '&');
  const query = new Map();
  for (const pair of text.split('&').filter(Boolean)) {
    const at = pair.indexOf('=');
    const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
    // The first one counts: what a caller appended cannot take the place of the node's own fields before it.
    if (!query.has(decoded(name))) query.set(decoded(name), decoded(value));
  }
  return Object.fromEntries(query);
}

function decoded(text) {
  const spaced = text.replace(/\+/g, ' ');
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced; // a stray per cent sign
  }
}

export class Launch {
  #rung = null;
  #answered = new Set(); // rooms that were answered without a tap

  /** How the application was entered; not refreshed by later ring notices. */
  enterOptions() {
    const options = entered();
    return { ...options, query: parseQuery(options.query) };
  }

  /** The query of the call page: that of the latest ring notice, else the page's own. */
  onloadOptions() {
    return { ...(this.#rung ?? parseQuery(pageQuery())) };
  }

  /** Takes a ring notice: its query is the one a call page would be opened with. */
  rang(roomId, data) {
    const own = parseQuery(pageQuery());
    this.#rung = {
      ...(opens(own, roomId) ? own : {}),
      ...parseQuery(data.query),
      roomType: data.roomType,
      roomId,
      groupId: roomId,
      callerId: data.callerId,
      callerName: data.callerName ?? '',
      listenerId: data.listenerId,
    };
  }

  /**
   * Whether a native screen took this call already (`isClickedHangOnBtn=1`); true once per room. Only the query this page
   * itself was opened with counts: a caller's customQuery must not be able to open the other side's microphone.
   */
  takesAnswered(roomId) {
    if (this.#answered.has(roomId)) return false;
    const first = this.#answered.size === 0;
    const answered = [parseQuery(pageQuery()), this.enterOptions().query].some(
      (query) => query.isClickedHangOnBtn === '1' && opens(query, roomId, first),
    );
    if (answered) this.#answered.add(roomId);
    return answered;
  }
}

/** Whether a launch query belongs to this room; one that names no room belongs to whatever rings `first`. */
function opens(query, roomId, first = true) {
  const named = query.groupId ?? query.roomId;
  return named === undefined ? first : named === roomId;
}
