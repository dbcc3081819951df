/**
 * wmpf-voip: the WMPF VoIP plugin's own interface, on this relay.
 *
 *   import voip from './sdk/wmpf-voip.js';
 *   await voip.connect({ baseUrl: 'https://relay.example.com', token });
 *   voip.onVoipEvent(({ eventName, roomId, data }) => ...);
 *   const { isSuccess, roomId } = await voip.initByCaller({ businessType: 1, roomType: 'video', caller, listener });
 *
 * Members of the plugin keep their names, shapes and numbers; what is ours is marked "addition". requestDeviceVoIP and
 * getDeviceVoIPList are those of `wx`. The plugin's call page becomes any page of yours that shows `state()`; call.html is one.
 * Runs in browsers and, with events and requests but no media of its own, in Node (>= 20) and in mini programs (runtime.js).
 * Every type is in wmpf-voip.d.ts.
 */
import { Backend } from './backend.js';
import { claimsOf } from './claims.js';
import { CODE, VoipError, VoipPluginError, refusedResult, wrongParameter } from './errors.js';
import { Grants, contactStatus } from './grants.js';
import { Launch } from './launch.js';
import { Leg } from './leg.js';
import { Link } from './link.js';
import { checkToken, fromCallDevice, fromCallWMPF, fromInitByCaller } from './request.js';
import { hasMedia, jump, onLeave, report } from './runtime.js';
import { Settings } from './settings.js';
import { Switchboard } from './switchboard.js';

export { VoipCgiError, VoipError, VoipJoinError, VoipPluginError } from './errors.js';

/** Path of the call page of the host application. */
export const CALL_PAGE_PATH = '/call.html';

const DEVICE_TO_USER = 1; // businessType

/** A new, unconnected client. The default export is one; a page that plays two parties makes more. */
export function createVoip() {
  const listeners = new Set();
  const stateListeners = new Set();
  const settings = new Settings();
  const launch = new Launch();
  const switchboard = new Switchboard({
    onEvent: heard,
    onChange: changed,
    onRing: (roomId, data) => {
      launch.rang(roomId, data);
      return launch.takesAnswered(roomId);
    },
  });
  const grants = new Grants(() => connected());
  let link = null;
  let linkState = 'offline';
  let linkFailure = null; // why the node refuses the token
  let abandon = null; // ends a connect() that is under way
  let self = { id: '', name: '' };
  let goTo = jump;
  let boxOpen = false;
  let left = null; // the call whose page was left
  let told = false;

  function connected() {
    if (!switchboard.party) throw new VoipPluginError('connect() first', CODE.REQUEST_FAILED);
    return switchboard.party;
  }

  function heard(event) {
    if (event.eventName === 'endVoip' && event.roomId === switchboard.call?.roomId) setCustomBox(false);
    emit(event);
    // A device with an end page shows none of ours, it goes there at once.
    const own = event.roomId === switchboard.call?.roomId && switchboard.party?.backend.kind === 'device';
    if (event.eventName === 'endVoip' && own) leaveCallPage();
  }

  function emit(event) {
    tellAll(listeners, event);
  }

  function changed() {
    if (told) return;
    told = true;
    Promise.resolve().then(() => {
      told = false;
      tellAll(stateListeners, state());
    });
  }

  /**
   * Addition. Connects this party; `token` is a text or an async function (asked again when it was refused). Resolves when
   * events flow; throws, and is unconnected then, when the token is refused or the node cannot be reached at the first try.
   * After that the link mends itself. Options: `kind` 'device' or 'user' when the token does not tell, `id`, `name`, `facingMode` 'user' or 'environment',
   * `WebSocket` where the runtime has none, `media` (an object like leg.js, or a function that makes one for each call),
   * `confirm` (see requestDeviceVoIP), `navigate(page)` in place of the jump to the end page.
   */
  async function connect({
    baseUrl = globalThis.location?.origin,
    token,
    kind = '',
    id = '',
    name = '',
    facingMode = 'user',
    WebSocket,
    media,
    confirm,
    navigate = jump,
  }) {
    if (!token || !['string', 'function'].includes(typeof token)) throw wrongParameter('token: must be a text or a function');
    if (typeof baseUrl !== 'string' || !/^https?:/.test(baseUrl)) throw wrongParameter('baseUrl: must be the http(s) address of the node');
    if (!['', 'device', 'user'].includes(kind)) throw wrongParameter("kind: must be 'device' or 'user'");
    close();
    const backend = new Backend(baseUrl, token, kind);
    const claims = claimsOf(await backend.token());
    if (!kind && ['device', 'user'].includes(claims.kind)) backend.kind = claims.kind;
    self = { id: id || claims.sn || claims.openid || claims.sub || '', name };
    goTo = navigate;
    const own = typeof media === 'function' ? media : () => media;
    switchboard.party = { backend, self, confirm, facingMode, media: media ? own : () => (hasMedia() ? new Leg(backend) : null) };
    const opened = new Promise((done, fail) => {
      abandon = fail;
      const mine = new Link(
        backend.eventsUrl,
        (fresh) => backend.token(fresh),
        {
          onEvent: (event) => switchboard.receive(event),
          onGap: () => switchboard.reconcile(),
          onState: (next) => {
            linkState = next;
            changed();
            if (next !== 'online') return;
            linkFailure = null;
            done();
            switchboard.reconcile();
          },
          onFailure: async (attempt, error) => {
            if (error instanceof VoipError) {
              if (attempt === 0) fail(error); // the token function's
              return;
            }
            if (error) {
              // No WebSocket in this runtime; another try would not find one.
              fail(new VoipPluginError(error.message, CODE.UNSUPPORTED, { cause: error }));
              return;
            }
            // A WebSocket does not say why it was refused; a request does.
            try {
              await backend.json('GET', '/v1/calls/-');
            } catch (refused) {
              const final = [401, 403].includes(refused.httpStatus);
              if (attempt === 0 && (final || refused.errCode === CODE.REQUEST_FAILED)) fail(refused);
              if (link !== mine || linkState === 'online') return;
              linkFailure = final ? refused : null;
              changed();
            }
          },
        },
        WebSocket,
      );
      link = mine;
    });
    const mine = link;
    try {
      await opened;
    } catch (error) {
      if (link === mine) close();
      throw error;
    } finally {
      if (link === mine) abandon = null;
    }
  }

  /** Addition. Hangs up and disconnects. */
  function close() {
    switchboard.end(undefined, { origin: 'manual' });
    link?.close();
    link = null;
    linkState = 'offline';
    linkFailure = null;
    switchboard.party = null;
    abandon?.(new VoipPluginError('closed while connecting', CODE.INTERRUPTED));
    abandon = null;
    changed();
  }

  async function create(body) {
    const { kind } = connected().backend;
    const needed = body.businessType === DEVICE_TO_USER ? 'device' : 'user';
    if (kind && kind !== needed) {
      const [code, where] = needed === 'device' ? [CODE.ONLY_ON_DEVICE, 'on a device'] : [CODE.ONLY_IN_CLIENT, "in a user's client"];
      throw new VoipPluginError(`this call can only be made ${where}`, code);
    }
    switchboard.checkFree();
    checkToken(body);
    return switchboard.create(body);
  }

  async function initByCaller(req) {
    try {
      const { roomId, chargeType = 'duration' } = await create(fromInitByCaller(req));
      return { isSuccess: true, roomId, groupId: roomId, chargeType };
    } catch (error) {
      // Wrong parameters are thrown; every other refusal is a result.
      if (error.errCode === CODE.WRONG_PARAMETER || !(error instanceof VoipError)) throw error;
      return refusedResult(error);
    }
  }

  async function callWMPF(req) {
    const { roomId } = await create(fromCallWMPF(req, self));
    return { roomId };
  }

  async function callDevice(req) {
    const { roomId } = await create(fromCallDevice(req, self));
    return { roomId };
  }

  function forceHangUpVoip(roomId) {
    switchboard.end(roomId, { origin: 'forceFromApp', reject: switchboard.call?.phase === 'ringing' });
  }

  /** Subscribes; a second registration of the same function is ignored. Returns the off function. */
  function onVoipEvent(listener) {
    return subscribe(listeners, listener);
  }

  async function getIotBindContactList(req) {
    return contactStatus(connected().backend, req);
  }

  /** Addition. Tells the listener the present state, then every change; returns the off function. */
  function onState(listener) {
    const off = subscribe(stateListeners, listener);
    listener(state());
    return off;
  }

  /** Addition. Everything a call page shows; `phase` is 'idle' or one of those in call.js. */
  function state() {
    const { call } = switchboard;
    const [caller, listener] = call?.role === 'caller' ? [call.self, call.peer] : [call?.peer, call?.self];
    return {
      link: linkState,
      linkFailure,
      kind: switchboard.party?.backend.kind ?? '',
      self: { ...self },
      phase: call?.phase ?? 'idle',
      roomId: call?.roomId ?? null,
      role: call?.role ?? null,
      roomType: call?.roomType ?? null,
      peer: call ? { ...call.peer } : null,
      callerId: caller?.id ?? null,
      listenerId: listener?.id ?? null,
      keepTime: switchboard.keepTime,
      path: call?.path ?? 'none',
      muted: call?.muted ?? false,
      cameraOff: call?.cameraOff ?? false,
      notices: call?.notices ?? [],
      end: call?.end ?? null,
      failure: call?.failure ?? null,
      summary: call?.summary ?? null,
      bill: call?.bill ?? null,
      local: call?.local ?? null,
      remote: call?.remote ?? null,
      customBoxOpen: boxOpen,
      ui: settings.ui(call?.callerProfile, call?.listenerProfile),
      endPage: settings.endPage(),
    };
  }

  /** Addition. Cancels, refuses or hangs up, as the phase asks. */
  function hangUp(roomId) {
    return switchboard.end(roomId, { reject: switchboard.call?.phase === 'ringing' });
  }

  /** Addition. */
  function setMuted(muted) {
    switchboard.call?.leg?.setMuted(muted);
    changed();
  }

  /** Addition. May throw a VoipJoinError when the camera cannot be opened again. */
  async function setCameraOff(off) {
    await switchboard.call?.leg?.setCameraOff(off);
    changed();
  }

  /** Addition. One reading of the media connection (stats.js), or null without one. */
  async function stats() {
    const { call } = switchboard;
    return call?.leg?.stats && !call.ended ? call.leg.stats() : null;
  }

  /** Addition, for call pages: the half screen was opened or closed; tells showCustomBox or hideCustomBox. */
  function setCustomBox(open) {
    if (Boolean(open) === boxOpen || (open && switchboard.call?.phase !== 'talking')) return;
    boxOpen = Boolean(open);
    const { roomId, callerId, listenerId } = state();
    const eventName = boxOpen ? 'showCustomBox' : 'hideCustomBox';
    emit({ eventName, roomId, groupId: roomId, data: { callerId, listenerId } });
    changed();
  }

  /** Addition, for call pages: goes to the page of setVoipEndPagePath, once for each call. False when none was set. */
  function leaveCallPage() {
    const page = settings.endPage();
    const { call } = switchboard;
    if (page && (call === null || call !== left)) {
      left = call;
      goTo(page);
    }
    return page !== null;
  }

  /** Settings change what a call page shows, so its state listeners hear of them. */
  function set(change) {
    change();
    changed();
  }

  async function unsupported() {
    throw new VoipPluginError('face-pay devices are not offered', CODE.UNSUPPORTED);
  }

  onLeave(() => {
    // A page that only rings may go: the call rings on for the party's other pages.
    if (switchboard.call && switchboard.call.phase !== 'ringing') {
      switchboard.end(undefined, { origin: 'unloadCallPage', keepalive: true });
    }
  });

  return {
    CALL_PAGE_PATH,
    initByCaller,
    callWMPF,
    callDevice,
    forceHangUpVoip,
    onVoipEvent,
    setUIConfig: (config) => set(() => settings.configure(config)),
    setCustomBtnText: (text) => set(() => settings.setButton(text)),
    setVoipEndPagePath: (opts) => set(() => settings.setEndPage(opts)),
    getIotBindContactList,
    getPluginEnterOptions: () => launch.enterOptions(),
    getPluginOnloadOptions: () => launch.onloadOptions(),
    // Campus "face pay" mode: present, so that code which looks for them finds them, and not offered.
    bindVoipAdminContact: unsupported,
    getBindContactPath: () => {
      throw new VoipPluginError('face-pay devices are not offered', CODE.UNSUPPORTED);
    },
    getVoipBindContactList: unsupported,
    deleteVoipBindContact: unsupported,
    transerAdmin: unsupported,
    requestDeviceVoIP: (opts) => grants.request(opts),
    getDeviceVoIPList: (opts) => grants.list(opts),
    // Additions
    reopenGrant: (target) => grants.reopen(target),
    connect,
    close,
    /** Answers the ringing call; with a room id only that one. Throws a VoipError. */
    answer: (roomId) => switchboard.answer(roomId),
    /** Refuses the ringing call. */
    reject: (roomId) => switchboard.end(roomId, { reject: true }),
    hangUp,
    /** Takes part in a room this party belongs to already, for example after a reload. */
    join: (roomId) => switchboard.join(roomId),
    setMuted,
    setCameraOff,
    setCustomBox,
    leaveCallPage,
    stats,
    state,
    onState,
  };
}

function subscribe(set, listener) {
  if (typeof listener !== 'function') throw wrongParameter('listener: must be a function');
  set.add(listener);
  return () => {
    set.delete(listener);
  };
}

function tellAll(set, value) {
  for (const listener of [...set]) {
    try {
      listener(value);
    } catch (error) {
      report(error); // a listener's fault must not cost the others the event
    }
  }
}

export default createVoip();
