/**
 * Account: who this page is, from its address, and its token.
 * `?id=…&name=…&peer=…&auto=answer|call&voice=1&lang=zh|en`, and `#token=…` outside demo mode.
 * A call page that a push opened (`?groupId=…&listenerId=SN…`) is that device; with `isCaller=1` it is the calling user.
 */
import { CODE, VoipError, VoipPluginError, refusal } from '../sdk/errors.js';

const ID = /^[\w.@:-]{1,64}$/;

export class Account {
  /** `kind` is 'user' or 'device'; `standard` holds the id, name and peer used when the address names none. */
  constructor(kind, standard) {
    const query = new URLSearchParams(location.search);
    const pushed = ['groupId', 'listenerId'].every((name) => query.has(name)) && !query.has('id') && query.get('isCaller') !== '1';
    const given = pushed ? query.get('listenerId') : (query.get('id') ?? '');
    this.pushed = pushed;
    this.kind = pushed ? 'device' : kind;
    this.id = ID.test(given) ? given : standard.id;
    this.name = (query.get('name') ?? (given ? this.id : standard.name)).slice(0, 64);
    this.peer = (query.get('peer') ?? query.get('callerId') ?? standard.peer).slice(0, 64);
    this.peerName = (query.get('callerName') || this.peer).slice(0, 64);
    this.auto = query.get('auto');
    this.voice = query.get('voice') === '1';
    this.room = query.get('roomId') ?? (query.get('isCaller') === '1' ? query.get('groupId') : null) ?? '';
    this.given = new URLSearchParams(location.hash.slice(1)).get('token');
  }

  /** Where a page that a push opened goes when its call is over: the device's own. */
  get home() {
    return `device.html?${new URLSearchParams({ id: this.id, name: this.name })}${location.hash}`;
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
