/**
 * Backend: requests to the node over HTTP.
 *
 * Failures are always a VoipError: no answer is 1002, an unreadable one 1003, a refusal carries the node's own code.
 * A token may be a text or an async function; a function is asked again once after a 401, so that tokens can be short-lived.
 */
import { CODE, VoipError, VoipPluginError, refusal } from './errors.js';
import { pause, request } from './runtime.js';

const RETRY_PAUSE_MS = 400;

export class Backend {
  #token;
  #cached = null;

  /** `kind` is 'device', 'user' or '' when it is not known yet. */
  constructor(baseUrl, token, kind = '') {
    this.baseUrl = String(baseUrl).replace(/\/+$/, '');
    this.#token = token;
    this.kind = kind;
  }

  /** The party's token; `fresh` asks the token function again. Throws 1000 when a device's function gives none. */
  async token(fresh = false) {
    if (typeof this.#token !== 'function') return this.#token;
    if (!fresh && this.#cached !== null) return this.#cached;
    let token;
    try {
      token = await this.#token();
    } catch (cause) {
      if (this.kind === 'user' && cause instanceof VoipError) throw cause;
      throw this.#tokenless(cause?.errMsg ?? cause?.message ?? String(cause), cause);
    }
    if (typeof token !== 'string' || token === '') throw this.#tokenless('the token function gave no text');
    this.#cached = token;
    return token;
  }

  #tokenless(why, cause) {
    const code = this.kind === 'user' ? CODE.REQUEST_FAILED : CODE.DEVICE_TOKEN_FAILED;
    return new VoipPluginError(`no token: ${why}`, code, { cause });
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
      return this.#send(path, { method, headers, keepalive, body: body === undefined ? undefined : JSON.stringify(body) });
    };
    let response;
    try {
      response = await send(false);
    } catch (error) {
      if (!key || error.errCode !== CODE.REQUEST_FAILED) throw error;
      await pause(RETRY_PAUSE_MS);
      response = await send(false);
    }
    if (response.status === 401 && this.canRenew) response = await send(true);
    return parsed(response);
  }

  /**
   * One SDP request of a leg. Resolves to {text, location}; `bearer` is the join credential, or the party's token when omitted.
   */
  async sdp(method, url, { body, type = 'application/sdp', bearer, keepalive = false } = {}) {
    const headers = { Authorization: `Bearer ${bearer ?? (await this.token())}` };
    if (body !== undefined) headers['Content-Type'] = type;
    const { status, text, header } = await this.#send(url, { method, headers, body, keepalive });
    if (!isOk(status)) throw refusal(status, jsonOrNull(text), header('Retry-After'));
    const location = header('Location');
    return { text, location: location && this.#absolute(location) };
  }

  async #send(path, init) {
    try {
      return await request(this.#absolute(path), init);
    } catch (cause) {
      throw new VoipPluginError(`request failed: ${cause.message}`, CODE.REQUEST_FAILED, { cause });
    }
  }

  #absolute(path) {
    return /^https?:/.test(path) ? path : this.baseUrl + path;
  }
}

function parsed({ status, text, header }) {
  const body = jsonOrNull(text);
  if (!isOk(status)) throw refusal(status, body, header('Retry-After'));
  if (body === null && text !== '' && text !== 'null') {
    throw new VoipPluginError('the answer is not JSON', CODE.ANSWER_UNREADABLE, { httpStatus: status });
  }
  return body;
}

function isOk(status) {
  return status >= 200 && status < 300;
}

function jsonOrNull(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
