/**
 * Account: who this page is, from its address, and its token.
 * `?id=…&name=…&peer=…&auto=answer|call&voice=1&lang=zh|en`, and `#token=…` outside demo mode.
 */
import { CODE, VoipError, VoipPluginError, refusal } from '../sdk/errors.js';

const ID = /^[\w.@:-]{1,64}$/;

export class Account {
  /** `kind` is 'user' or 'device'; `standard` holds the id, name and peer used when the address names none. */
  constructor(kind, standard) {
    const query = new URLSearchParams(location.search);
    this.kind = kind;
    this.id = ID.test(query.get('id') ?? '') ? query.get('id') : standard.id;
    this.name = (query.get('name') ?? (query.has('id') ? this.id : standard.name)).slice(0, 64);
    this.peer = (query.get('peer') ?? standard.peer).slice(0, 64);
    this.auto = query.get('auto');
    this.voice = query.get('voice') === '1';
    this.room = query.get('roomId') ?? '';
    this.given = new URLSearchParams(location.hash.slice(1)).get('token');
  }

  /** The page's token: the one it was given, or a demo token. Throws a VoipError. */
  async token() {
    if (this.given) return this.given;
    let response;
    try {
      response = await fetch('/demo/token', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ kind: this.kind, id: this.id, name: this.name }),
        signal: AbortSignal.timeout(10_000),
      });
    } catch (cause) {
      throw new VoipPluginError('the node cannot be reached', CODE.REQUEST_FAILED, { cause });
    }
    const body = await response.json().catch(() => null);
    if (response.status === 404 || response.status === 403) {
      const error = new VoipError('demo mode is off', 0, { httpStatus: response.status });
      error.extErrMsg = 'not-demo';
      throw error;
    }
    if (!response.ok) throw refusal(response.status, body);
    return body.token;
  }
}
