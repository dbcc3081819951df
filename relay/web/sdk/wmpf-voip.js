/**
 * wmpf-voip: the WMPF VoIP plugin's own interface, on this relay.
 *
 *   import voip from './sdk/wmpf-voip.js';
 *   await voip.connect({ baseUrl: 'https://relay.example.com', token });
 *   voip.onVoipEvent(({ eventName, roomId, data }) => ...);
 *   const { isSuccess, roomId } = await voip.initByCaller({ businessType: 1, roomType: 'video', caller, listener });
 *
 * Members of the plugin keep their names, shapes and numbers. Ours, marked "addition": connect, close, answer, reject,
 * hangUp, join, setMuted, setCameraOff, stats, state, onState. The plugin's call page becomes any page of yours
 * that shows `state().local` and `state().remote`.
 */
import { Backend } from './backend.js';
import { Call } from './call.js';
import { CODE, VoipPluginError, refusedResult, wrongParameter } from './errors.js';
import { Launch } from './launch.js';
import { Link } from './link.js';
import { fromCallDevice, fromCallWMPF, fromInitByCaller } from './request.js';
import { Settings } from './settings.js';
import { Clock, Ticker } from './ticker.js';

/** Path of the call page of the host application. */
export const CALL_PAGE_PATH = '/call.html';

/** How long after a reconnect replayed events may take before the call itself is looked up. */
const RECONCILE_MS = 1_500;
const EARLY_EVENTS = 32;

/** A new, unconnected client. The default export is one; a page that plays two parties makes more. */
export function createVoip() {
  const listeners = new Set();
  const stateListeners = new Set();
  const settings = new Settings();
  const launch = new Launch();
  const clock = new Clock();
  let backend = null;
  let link = null;
  let linkState = 'offline';
  let self = { id: '', name: '' };
  let facingMode = 'user';
  let call = null;
  let early = []; // events of rooms whose create has not been answered yet
  let crossed = null; // a ring notice that came while our own call was being made
  let leaving = Promise.resolve(); // the last hang-up, which must reach the node before the next create
  let told = false;

  const ticker = new Ticker(clock, (keepTime) => {
    emit({ eventName: 'calling', roomId: call.roomId, groupId: call.roomId, data: { keepTime } });
    changed();
  });

  function emit(event) {
    for (const listener of [...listeners]) {
      try {
        listener(event);
      } catch (error) {
        // A listener's fault must not cost the others the event.
        reportError(error);
      }
    }
  }

  function changed() {
    if (told) return;
    told = true;
    queueMicrotask(() => {
      told = false;
      const snapshot = state();
      for (const listener of [...stateListeners]) {
        try {
          listener(snapshot);
        } catch (error) {
          reportError(error);
        }
      }
    });
  }

  function receive(event) {
    clock.learn(event.timestamp);
    const { eventName, roomId, data } = event;
    if (eventName === 'incomingCall') {
      const rings = rang(roomId, data ?? {});
      emit(event);
      // The node cannot know that this side's call page is on show; the plugin tells it before anything else.
      if (rings) emit({ eventName: 'callPageOnShow', roomId, groupId: roomId, data: {} });
      return;
    }
    if (call && call.roomId === null && roomId) {
      early.push(event);
      if (early.length > EARLY_EVENTS) early.shift();
    } else if (call && call.roomId === roomId) follow(event);
    if (eventName === 'endVoip' && crossed?.roomId === roomId) crossed = null;
    emit(event);
  }

  function follow(event) {
    const wasTalking = call.phase === 'talking';
    call.apply(event);
    if (!wasTalking && call.phase === 'talking') ticker.start(call.startTime);
    if (call.ended) ticker.stop();
  }

  function rang(roomId, data) {
    if (call && !call.ended && call.roomId === null) crossed = { roomId, data };
    // In another call the node tells the other side that we are busy; a repeated notice rings no second time.
    if ((call && !call.ended) || call?.roomId === roomId) return false;
    launch.rang(roomId, data);
    call = new Call(
      backend,
      {
        role: 'listener',
        roomType: data.roomType === 'voice' ? 'voice' : 'video',
        self: { id: data.listenerId ?? self.id, name: data.listenerName ?? self.name, cameraStatus: data.listenerCameraStatus ?? 0 },
        peer: { id: data.callerId ?? '', name: data.callerName ?? '', cameraStatus: data.callerCameraStatus ?? 0 },
        facingMode,
      },
      changed,
    );
    call.roomId = roomId;
    changed();
    // Answered already in a native screen: the plugin answers without another tap.
    if (launch.onloadOptions().isClickedHangOnBtn === '1') call.answer().catch(() => {});
    return true;
  }

  async function create(body) {
    if (!backend) throw new VoipPluginError('connect() first', CODE.REQUEST_FAILED);
    if (call && !call.ended) throw new VoipPluginError('another call is going on', CODE.BUSY);
    early = [];
    const made = new Call(
      backend,
      { role: 'caller', roomType: body.roomType, self: body.caller, peer: body.listener, facingMode },
      changed,
    );
    call = made;
    changed();
    await leaving;
    let answer;
    try {
      answer = await made.create(body, crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`);
    } catch (error) {
      // Both sides called at once and the other was first: its call rings now.
      const { roomId, data } = crossed ?? {};
      crossed = null;
      if (roomId && call === made) receive({ eventName: 'incomingCall', roomId, groupId: roomId, data });
      throw error;
    }
    crossed = null;
    if (call === made) for (const event of early) if (event.roomId === made.roomId) follow(event);
    early = [];
    return answer;
  }

  function end(roomId, how) {
    if (!call || call.ended || (roomId !== undefined && roomId !== call.roomId)) return Promise.resolve();
    ticker.stop();
    const done = call.hangUp(how);
    leaving = Promise.race([done, new Promise((late) => setTimeout(late, 3_000))]);
    return done;
  }

  /** After a break: a call the node no longer knows (it was restarted) has ended, though no event can tell. */
  async function reconcile() {
    const mine = call;
    if (!mine || mine.ended || mine.roomId === null) return;
    await new Promise((done) => setTimeout(done, RECONCILE_MS));
    if (mine !== call || mine.ended) return;
    try {
      const { state: at } = await backend.json('GET', `/v1/calls/${encodeURIComponent(mine.roomId)}`);
      if (at !== 'ENDED' && at !== 'SETTLED') return;
    } catch (error) {
      if (error.httpStatus !== 404) return;
    }
    if (mine !== call || mine.ended) return;
    const { keepTime } = ticker;
    const ids = { roomId: mine.roomId, groupId: mine.roomId };
    const names = mine.role === 'caller' ? [mine.self.name, mine.peer.name] : [mine.peer.name, mine.self.name];
    const lost = { keepTime, status: 'unknown', error: { errMsg: 'room status is abort' } };
    const over = { keepTime, callerName: names[0], listenerName: names[1], roomType: mine.roomType, isCaller: mine.role === 'caller' };
    for (const event of [
      { eventName: 'abortVoip', ...ids, data: lost },
      { eventName: 'endVoip', ...ids, data: over },
    ]) {
      follow(event);
      emit(event);
    }
  }

  /**
   * Addition. Connects this party; `token` is a text or an async function (asked again when it was refused).
   * `facingMode` 'user' or 'environment' picks the camera. Resolves when events flow, throws when the token is refused or the
   * node cannot be reached at the first try; after that the link mends itself.
   */
  async function connect({ baseUrl = globalThis.location?.origin, token, id = '', name = '', facingMode: facing = 'user' }) {
    if (!token || !['string', 'function'].includes(typeof token)) throw wrongParameter('token: must be a text or a function');
    close();
    backend = new Backend(baseUrl, token);
    const mine = backend;
    const claims = readClaims(await mine.token());
    self = { id: id || claims.sn || claims.openid || claims.sub || '', name };
    facingMode = facing;
    await new Promise((done, fail) => {
      link = new Link(mine.eventsUrl, (fresh) => mine.token(fresh), {
        onEvent: receive,
        onState: (next) => {
          linkState = next;
          changed();
          if (next !== 'online') return;
          done();
          reconcile();
        },
        onFailure: async (attempt) => {
          if (attempt > 0) return;
          // A WebSocket does not say why it was refused; a request does.
          try {
            await mine.json('GET', '/v1/calls/-');
          } catch (error) {
            if (error.errCode === CODE.REQUEST_FAILED || [401, 403].includes(error.httpStatus)) fail(error);
          }
        },
      });
    });
  }

  /** Addition. Hangs up and disconnects. */
  function close() {
    end(undefined, { origin: 'manual' });
    link?.close();
    link = null;
    linkState = 'offline';
  }

  async function initByCaller(req) {
    let body;
    try {
      body = fromInitByCaller(req);
    } catch (error) {
      if (error.errCode === CODE.WRONG_PARAMETER) throw error;
      return refusedResult(error);
    }
    try {
      const { roomId, chargeType = 'duration' } = await create(body);
      return { isSuccess: true, roomId, groupId: roomId, chargeType };
    } catch (error) {
      if (error.errCode === CODE.WRONG_PARAMETER || !('errCode' in error)) throw error;
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
    end(roomId, { origin: 'forceFromApp', reject: call?.phase === 'ringing' });
  }

  /** Subscribes; a second registration of the same function is ignored. Returns the off function. */
  function onVoipEvent(listener) {
    if (typeof listener !== 'function') throw wrongParameter('listener: must be a function');
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  /** Addition. Tells the listener the present state, then every change; returns the off function. */
  function onState(listener) {
    if (typeof listener !== 'function') throw wrongParameter('listener: must be a function');
    stateListeners.add(listener);
    listener(state());
    return () => {
      stateListeners.delete(listener);
    };
  }

  /** Addition. Everything a call page shows; `phase` is 'idle' or one of those in call.js. */
  function state() {
    return {
      link: linkState,
      self: { ...self },
      phase: call?.phase ?? 'idle',
      roomId: call?.roomId ?? null,
      role: call?.role ?? null,
      roomType: call?.roomType ?? null,
      peer: call ? { ...call.peer } : null,
      keepTime: ticker.keepTime,
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
    };
  }

  /** Addition. Answers the ringing call; with a room id only that one. Throws a VoipError. */
  async function answer(roomId) {
    if (!call || (roomId !== undefined && roomId !== call.roomId)) {
      throw new VoipPluginError('there is no such call to answer', CODE.INTERRUPTED);
    }
    await call.answer();
  }

  /** Addition. Refuses the ringing call. */
  function reject(roomId) {
    return end(roomId, { reject: true });
  }

  /** Addition. Cancels, refuses or hangs up, as the phase asks. */
  function hangUp(roomId) {
    return end(roomId, { reject: call?.phase === 'ringing' });
  }

  /** Addition. Takes part in a room this party belongs to already, for example after a reload. */
  async function join(roomId) {
    if (!backend) throw new VoipPluginError('connect() first', CODE.REQUEST_FAILED);
    if (call && !call.ended) throw new VoipPluginError('another call is going on', CODE.BUSY);
    const found = await backend.json('GET', `/v1/calls/${encodeURIComponent(roomId)}`);
    const role = found.caller?.id === self.id ? 'caller' : 'listener';
    const [mine, other] = role === 'caller' ? [found.caller, found.listener] : [found.listener, found.caller];
    call = new Call(backend, { role, roomType: found.roomType, self: mine, peer: other, facingMode }, changed);
    await call.rejoin(roomId);
  }

  /** Addition. */
  function setMuted(muted) {
    call?.leg?.setMuted(muted);
    changed();
  }

  /** Addition. May throw a VoipJoinError when the camera cannot be opened again. */
  async function setCameraOff(off) {
    await call?.leg?.setCameraOff(off);
    changed();
  }

  /** Addition. One reading of the media connection (stats.js), or null without one. */
  async function stats() {
    return call?.leg && !call.ended ? call.leg.stats() : null;
  }

  globalThis.addEventListener?.('pagehide', () => {
    // A page that only rings may go: the call rings on for the party's other pages.
    if (call && call.phase !== 'ringing') end(undefined, { origin: 'unloadCallPage', keepalive: true });
  });

  return {
    CALL_PAGE_PATH,
    initByCaller,
    callWMPF,
    callDevice,
    forceHangUpVoip,
    onVoipEvent,
    setUIConfig: (config) => settings.configure(config),
    setCustomBtnText: (text) => settings.setButton(text),
    setVoipEndPagePath: (opts) => settings.setEndPage(opts),
    getPluginEnterOptions: () => launch.enterOptions(),
    getPluginOnloadOptions: () => launch.onloadOptions(),
    connect,
    close,
    answer,
    reject,
    hangUp,
    join,
    setMuted,
    setCameraOff,
    stats,
    state,
    onState,
  };
}

/** The claims of a JWT, unverified (that is the node's work); {} when it is none. */
function readClaims(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

export default createVoip();
