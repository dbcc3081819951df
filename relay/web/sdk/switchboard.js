/**
 * Switchboard: the one call a party can have, and what the node's events do to it.
 *
 * A call is followed by events of its own room only; they may come before the answer to the request that made the room,
 * a ring notice may cross a call of our own, and after a break or a gap the node is asked what became of the call. Events
 * the node cannot make (callPageOnShow of the called side, calling, the end of a call it no longer knows) are made here.
 */
import { Call } from './call.js';
import { CODE, VoipPluginError } from './errors.js';
import { pause, uniqueKey } from './runtime.js';
import { Clock, Ticker } from './ticker.js';

/** How long after a reconnect replayed events may take before the call itself is looked up. */
const RECONCILE_MS = 1_500;
const EARLY_EVENTS = 32;
/** A hang-up that does not get through holds the next call back no longer than this. */
const LEAVING_MS = 3_000;

export class Switchboard {
  call = null;
  /** The connected party: {backend, self, media, facingMode}; null before connect. */
  party = null;
  #hooks;
  #clock = new Clock();
  #ticker;
  #early = []; // events of rooms whose create has not been answered yet
  #crossed = null; // a ring notice that came while our own call was being made
  #leaving = Promise.resolve(); // the last hang-up, which must reach the node before the next create

  /** `hooks`: onEvent(event), onChange(), onRing(roomId, data) → whether a native screen answered it already. */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#ticker = new Ticker(this.#clock, (keepTime) => {
      this.#tell('calling', this.call, { keepTime });
      hooks.onChange();
    });
  }

  get keepTime() {
    return this.#ticker.keepTime;
  }

  get busy() {
    return this.call !== null && !this.call.ended;
  }

  /** Takes one event of the node. */
  receive(event) {
    this.#clock.learn(event.timestamp);
    const { eventName, roomId, data } = event;
    if (eventName === 'incomingCall') {
      const rings = this.#rang(roomId, data ?? {});
      this.#hooks.onEvent(event);
      // The node cannot know that this side's call page is on show; the plugin tells it before anything else.
      if (rings) this.#tell('callPageOnShow', this.call, {});
      return;
    }
    if (this.call && this.call.roomId === null && roomId) {
      this.#early.push(event);
      if (this.#early.length > EARLY_EVENTS) this.#early.shift();
    } else if (this.call && this.call.roomId === roomId) this.#follow(event);
    if (eventName === 'endVoip' && this.#crossed?.roomId === roomId) this.#crossed = null;
    this.#hooks.onEvent(event);
  }

  #tell(eventName, { roomId }, data) {
    this.#hooks.onEvent({ eventName, roomId, groupId: roomId, data });
  }

  #follow(event) {
    const { call } = this;
    const wasTalking = call.phase === 'talking';
    call.apply(event);
    if (!wasTalking && call.phase === 'talking') this.#ticker.start(call.startTime);
    if (call.ended) this.#ticker.stop();
  }

  #rang(roomId, data) {
    if (this.busy && this.call.roomId === null) this.#crossed = { roomId, data };
    // In another call the node tells the other side that we are busy; a repeated notice rings no second time.
    if (this.busy || this.call?.roomId === roomId) return false;
    const { self } = this.party;
    const answered = this.#hooks.onRing(roomId, data);
    this.call = this.#make({
      role: 'listener',
      roomType: data.roomType === 'voice' ? 'voice' : 'video',
      self: { id: data.listenerId ?? self.id, name: data.listenerName || self.name, cameraStatus: data.listenerCameraStatus ?? 0 },
      peer: { id: data.callerId ?? '', name: data.callerName ?? '', cameraStatus: data.callerCameraStatus ?? 0 },
    });
    this.call.roomId = roomId;
    this.call.callerProfile = data.callerProfile ?? null;
    this.call.listenerProfile = data.listenerProfile ?? null;
    this.#hooks.onChange();
    if (answered) this.call.answer().catch(() => {}); // the state tells why
    return true;
  }

  #make(asked) {
    const { backend, media, facingMode } = this.party;
    return new Call(backend, { ...asked, media, facingMode }, this.#hooks.onChange);
  }

  /** Throws 1005 while a call is going on, 1002 before connect. */
  checkFree() {
    if (!this.party) throw new VoipPluginError('connect() first', CODE.REQUEST_FAILED);
    if (this.busy) throw new VoipPluginError('another call is going on', CODE.BUSY);
  }

  /** Calls somebody; `body` is that of POST /v1/calls. Resolves to the node's answer, throws a VoipError. */
  async create(body) {
    this.checkFree();
    this.#early = [];
    const made = this.#make({
      role: 'caller',
      roomType: body.roomType,
      self: body.caller,
      peer: body.listener ?? body.listeners[0],
      encode: {
        fixedLength: body.encodeVideoFixedLength ?? 0,
        rotation: body.encodeVideoRotation ?? 0,
        ratio: body.encodeVideoRatio ?? 0,
        maxFPS: body.encodeVideoMaxFPS ?? 0,
      },
    });
    this.call = made;
    this.#hooks.onChange();
    await this.#leaving;
    let answer;
    try {
      answer = await made.create(body, uniqueKey());
    } catch (error) {
      // Both sides called at once and the other was first: its call rings now.
      const { roomId, data } = this.#crossed ?? {};
      this.#crossed = null;
      if (roomId && this.call === made && this.#rang(roomId, data)) this.#tell('callPageOnShow', this.call, {});
      throw error;
    }
    this.#crossed = null;
    if (this.call === made) for (const event of this.#early) if (event.roomId === made.roomId) this.#follow(event);
    this.#early = [];
    return answer;
  }

  /** Ends the call, with a room id only that one. `how` is that of Call.hangUp. */
  end(roomId, how) {
    if (!this.busy || (roomId !== undefined && roomId !== this.call.roomId)) return Promise.resolve();
    this.#ticker.stop();
    const done = this.call.hangUp(how);
    this.#leaving = Promise.race([done, pause(LEAVING_MS)]);
    return done;
  }

  /** Answers the ringing call. Throws a VoipError. */
  async answer(roomId) {
    if (!this.call || (roomId !== undefined && roomId !== this.call.roomId)) {
      throw new VoipPluginError('there is no such call to answer', CODE.INTERRUPTED);
    }
    await this.call.answer();
  }

  /** Takes part in a room this party belongs to already. */
  async join(roomId) {
    this.checkFree();
    const found = await this.party.backend.json('GET', `/v1/calls/${encodeURIComponent(roomId)}`);
    const role = found.caller?.id === this.party.self.id ? 'caller' : 'listener';
    const [self, peer] = role === 'caller' ? [found.caller, found.listener] : [found.listener, found.caller];
    this.call = this.#make({ role, roomType: found.roomType, self, peer });
    await this.call.rejoin(roomId);
  }

  /**
   * After a break, or a gap in the events: asks the node what became of the call, and says what no event can tell any more.
   * A call the node no longer knows (it was restarted) has ended.
   */
  async reconcile() {
    const mine = this.call;
    if (!this.busy || mine.roomId === null) return;
    await pause(RECONCILE_MS); // what is still replayed comes first
    const current = () => mine === this.call && !mine.ended;
    if (!current()) return;
    let view = null;
    try {
      view = await this.party.backend.json('GET', `/v1/calls/${encodeURIComponent(mine.roomId)}`);
    } catch (error) {
      if (error.httpStatus !== 404) return;
    }
    if (!current()) return;
    if (view === null || view.state === 'ENDED' || view.state === 'SETTLED') this.#missedEnd(view);
    else if (view.state === 'TALKING' && mine.phase !== 'talking') this.#missed('startVoip', { startTime: view.startedAt });
    else if (view.state === 'RINGING' && mine.role === 'caller' && mine.phase === 'calling') this.#missed('joinedRoomByCaller', {});
  }

  #missedEnd(view) {
    const { role, roomType, self, peer } = this.call;
    const [caller, listener] = role === 'caller' ? [self, peer] : [peer, self];
    const keepTime = view?.keepTime ?? this.#ticker.keepTime;
    const lost = { keepTime, status: 'unknown', error: { errMsg: 'room status is abort' } };
    const [eventName, data] = {
      busy: ['busy', {}],
      timeout: ['timeout', {}],
      cancelled: ['cancelVoip', { status: 'other', ...(view?.errCode ? { errCode: view.errCode, errMsg: view.errMsg } : {}) }],
      rejected: ['rejectVoip', { status: 'other' }],
      hangup: ['hangUpVoip', { keepTime, status: role === 'caller' ? 'endByListener' : 'endByCaller', origin: 'other' }],
      forced: view?.startedAt ? ['hangUpVoip', { keepTime, status: 'endByCaller', origin: 'forceFromApp' }] : ['cancelVoip', { status: 'other' }],
      timeLimit: ['hangUpVoip', { keepTime, status: 'endByCaller', origin: 'timeLimit' }],
    }[view?.endReason] ?? ['abortVoip', lost];
    this.#missed(eventName, data);
    this.#missed('endVoip', {
      keepTime,
      callerName: caller.name,
      listenerName: listener.name,
      roomType,
      isCaller: role === 'caller',
      ...(view ? { businessType: view.businessType } : {}),
    });
  }

  #missed(eventName, data) {
    const { roomId } = this.call;
    this.#follow({ eventName, roomId, data });
    this.#tell(eventName, { roomId }, data);
  }
}
