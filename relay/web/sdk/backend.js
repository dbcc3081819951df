/**
 * Backend: requests to the node over HTTP.
 *
 * Failures are always a VoipError: no answer is 1002, an unreadable one 1003, a refusal carries the node's own code.
 * A token may be a text or an async function; a function is asked again once after a 401, so that tokens can be short-lived.
 */
import { CODE, VoipPluginError, refusal } from './errors.js';

const TIMEOUT_MS = 10_000;
const RETRY_PAUSE_MS = 400;

export class Backend {
  #token;
  #cached = null;

  constructor(baseUrl, token) {
    this.baseUrl = String(baseUrl).replace(/\/+$/, '');
    this.#token = token;
  }

  /** The party's token; `fresh` asks the token function again. */
  async token(fresh = false) {
    if (typeof this.#token !== 'function') return this.#token;
    if (fresh || this.#cached === null) this.#cached = await this.#token();
    return this.#cached;
  }

  get canRenew() {
    return typeof this.#token === 'function';
  }

  get eventsUrl() {
    return `${this.baseUrl.replace(/^http/, 'ws')}/v1/events`;
  }

  /**
   * One JSON request; resolves to the parsed answer (null when empty).
   * `key` is the idempotency key: with it a request that got no answer is sent once more.
   */
  async json(method, path, { body, key, keepalive = false } = {}) {
    const headers = {};
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    if (key) headers['Idempotency-Key'] = key;
    const send = async (fresh) => {
      headers.Authorization = `Bearer ${await this.token(fresh)}`;
      return this.#fetch(path, { method, headers, keepalive, body: body === undefined ? undefined : JSON.stringify(body) });
    };
    let response;
    try {
      response = await send(false);
    } catch (error) {
      if (!key || error.errCode !== CODE.REQUEST_FAILED) throw error;
      await new Promise((done) => setTimeout(done, RETRY_PAUSE_MS));
      response = await send(false);
    }
    if (response.status === 401 && this.canRenew) response = await send(true);
    return this.#parsed(response);
  }

  /**
   * One SDP request of a leg. Resolves to {text, location}; `bearer` is the join credential, or the party's token when omitted.
   */
  async sdp(method, url, { body, type = 'application/sdp', bearer, keepalive = false } = {}) {
    const headers = { Authorization: `Bearer ${bearer ?? (await this.token())}` };
    if (body !== undefined) headers['Content-Type'] = type;
    const response = await this.#fetch(url, { method, headers, body, keepalive });
    if (!response.ok) throw refusal(response.status, await jsonOrNull(response));
    const location = response.headers.get('Location');
    return { text: await response.text(), location: location && new URL(location, response.url).href };
  }

  async #fetch(path, init) {
    const url = /^https?:/.test(path) ? path : this.baseUrl + path;
    try {
      return await fetch(url, { ...init, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
    } catch (cause) {
      const why = cause.name === 'TimeoutError' ? `no answer within ${TIMEOUT_MS / 1000} s` : 'the node cannot be reached';
      throw new VoipPluginError(`request failed: ${why}`, CODE.REQUEST_FAILED, { cause });
    }
  }

  async #parsed(response) {
    const text = await response.text();
    let body = null;
    try {
      if (text) body = JSON.parse(text);
    } catch (cause) {
      if (response.ok) {
        throw new VoipPluginError('the answer is not JSON', CODE.ANSWER_UNREADABLE, { cause, httpStatus: response.status });
      }
    }
    if (!response.ok) throw refusal(response.status, body);
    return body;
  }
}

async function jsonOrNull(response) {
  try {
    return JSON.parse(await response.text());
  } catch {
    return null;
  }
}
