/**
 * Account: who this page is, from its address and its host application, and its token.
 *
 * Parameters of the address:
 *   id, name          this party; without them the page's own example
 *   peer              whom to call
 *   auto              'answer' takes every call, 'call' calls the peer at once; with voice=1 by voice
 *   model             the model id of the devices this user calls, 'demo' without it
 *   roomId            a call to take part in, for example after a reload
 *   lang              'zh' or 'en'
 *   #token=           the party's token; without one the page asks for a demo token, which a node gives in demo mode only
 * A call page that a push opened (`?groupId=…&listenerId=SN…`, with roomType, callerId, callerName and isClickedHangOnBtn)
 * is that device; with `isCaller=1` it is the calling user, and groupId the call to take part in.
 *
 * A host application may set `window.relayHost` before the page's script runs, with any of:
 *   baseUrl           the address of the node, when it is not the page's own
 *   token             an async function that gives a token: the first one when the address has none, then each new one
 *   customBox         fills the half screen (custombox.js)
 *   media, confirm, navigate, facingMode, WebSocket    options of connect() (../sdk/wmpf-voip.js)
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
    this.id = given || standard.id;
    /** False for an id no node accepts; the page must not become somebody else then. */
    this.usable = ID.test(this.id);
    this.name = (query.get('name') ?? (given ? this.id : standard.name)).slice(0, 64);
    this.peer = (query.get('peer') ?? query.get('callerId') ?? standard.peer).slice(0, 64);
    this.peerName = (query.get('callerName') || this.peer).slice(0, 64);
    this.auto = query.get('auto');
    this.model = query.get('model') || 'demo';
    this.voice = query.get('voice') === '1';
    this.room = query.get('roomId') ?? (query.get('isCaller') === '1' ? query.get('groupId') : null) ?? '';
    this.baseUrl = window.relayHost?.baseUrl ?? location.origin;
    this.given = new URLSearchParams(location.hash.slice(1)).get('token');
    this.fresh = this.given; // until it was taken
  }

  /** Where a page that a push opened goes when its call is over: the device's own. */
  get home() {
    return `device.html?${new URLSearchParams({ id: this.id, name: this.name })}${location.hash}`;
  }

  /** The page's token: the one it was given, at each further time a new one if the host gives any, or a demo token. Throws a VoipError. */
  async token() {
    const { token: renewed } = window.relayHost ?? {};
    const fresh = this.fresh;
    this.fresh = null;
    if (fresh) return fresh;
    if (typeof renewed === 'function') return renewed();
    if (this.given) return this.given;
    let response;
    try {
      response = await fetch(`${this.baseUrl.replace(/\/+$/, '')}/demo/token`, {
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
