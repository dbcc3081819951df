/**
 * Call: one call as this page sees it.
 *
 * The node owns the state; this follows its events. Phases:
 *   calling     caller: the room is being made and joined
 *   waiting     caller: in the room, the other side rings
 *   ringing     called side: asked, not answered yet
 *   connecting  called side: answered, media comes up
 *   talking     both are in the room
 *   ended       the end reason is known (or we hung up); stays so
 */
import { CODE, VoipJoinError, VoipPluginError } from './errors.js';
import { now, pause } from './runtime.js';

/** The node's join timer is 20 s; retries stop a little before it. */
const JOIN_RETRY_MS = 17_000;
const RETRY_PAUSE_MS = 700;

const ENDING = new Set(['busy', 'timeout', 'cancelVoip', 'rejectVoip', 'hangUpVoip', 'abortVoip', 'endVoip']);

export class Call {
  roomId = null;
  phase = 'calling';
  /** The first ending event {eventName, data}, with the node's `reason` if it gave one; or null. */
  end = null;
  /** `data` of endVoip and finishVoip, once they came. */
  summary = null;
  bill = null;
  /** The last failure of this page's own part, a VoipError, or null. */
  failure = null;
  startTime = null;
  /** 'none', 'connecting', 'connected', 'broken' or 'failed'. */
  path = 'none';
  local = null;
  remote = null;
  /** The stored picture settings of a caller or listener that is a device, or null. */
  callerProfile = null;
  listenerProfile = null;
  #backend;
  #changed;
  #media;
  #credential = null;
  #leg = null;
  #making = null;
  #opened = null;
  #encode;
  #facing;
  #joining = null;
  #answered = false;
  #abandoned = false;
  #closed = false;

  /**
   * `role` is 'caller' or 'listener'; `self` and `peer` are {id, name, cameraStatus}; `media()` gives a Leg or an object
   * like one, null where this party has no media of its own; `encode` is for the Leg; `changed()` is told of every change.
   */
  constructor(backend, { role, roomType, self, peer, media, facingMode, encode = {} }, changed) {
    this.#backend = backend;
    this.#changed = changed;
    this.#media = media;
    this.#facing = facingMode;
    this.#encode = encode;
    this.role = role;
    this.roomType = roomType;
    this.self = self;
    this.peer = peer;
    if (role === 'listener') this.phase = 'ringing';
  }

  get ended() {
    return this.phase === 'ended';
  }

  get leg() {
    return this.#leg;
  }

  /**
   * Caller: makes the room, then joins it in the background. Resolves to the node's answer; throws a VoipError
   * and the call is over.
   */
  async create(body, key) {
    try {
      await this.#openMedia();
      if (this.#abandoned) throw new VoipPluginError('hung up before the room was made', CODE.INTERRUPTED);
      this.#making = this.#backend.json('POST', '/v1/calls', { body, key });
      const answer = await this.#making;
      if (typeof answer?.roomId !== 'string') {
        throw new VoipPluginError('the answer holds no roomId', CODE.ANSWER_UNREADABLE);
      }
      this.roomId = answer.roomId;
      this.#credential = answer.credential ?? null;
      this.#learn(answer);
      if (!this.#abandoned) this.#join();
      return answer;
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  /** Called side: answers and joins. Throws a VoipError; a call that is over by then gives 2000 or the node's own code. */
  async answer() {
    if (this.#answered) return;
    if (this.phase !== 'ringing') throw new VoipPluginError('there is no call to answer', CODE.INTERRUPTED);
    this.#answered = true;
    this.#phase('connecting');
    try {
      await this.#openMedia();
      if (this.ended) throw new VoipPluginError('the call ended before it was answered', CODE.INTERRUPTED);
      const answer = await this.#backend.json('POST', `${this.#path}/answer`, { body: {}, key: `answer-${this.roomId}-${this.self.id}` });
      this.#credential = answer?.credential ?? null;
      this.#join();
    } catch (error) {
      if (!this.ended) {
        this.#fail(error);
        this.#tell('reject', { status: 'manual' }).catch(() => {});
      }
      throw error;
    }
  }

  /** Joins a room this party already belongs to: after a reload, or on a page that only got the roomId. */
  async rejoin(roomId) {
    this.roomId = roomId;
    this.#answered = true;
    if (this.role === 'listener') this.#phase('connecting');
    this.#open().catch(() => {});
    await this.#join();
  }

  /** Ends the call whatever its phase; the node decides what it becomes. Never throws: locally it is over at once. */
  async hangUp({ origin = 'manual', reject = false, keepalive = false } = {}) {
    if (this.#abandoned) return;
    this.#abandoned = true;
    const wasOver = this.ended;
    this.#leg?.silence();
    this.#phase('ended');
    // A late result of create: the room must not go on ringing the other side.
    if (this.roomId === null) await this.#making?.then(() => {}, () => {});
    if (this.roomId !== null && !wasOver) {
      await (reject ? this.#tell('reject', { status: origin }, keepalive) : this.#tell('hangup', { origin }, keepalive)).catch(() => {});
    }
    this.#close();
  }

  /** Follows one event of the node for this room. */
  apply({ eventName, data, reason }) {
    if (eventName === 'joinedRoomByCaller' && this.phase === 'calling') this.#phase('waiting');
    else if (eventName === 'listenerChanged' && this.role === 'caller') {
      // Several listeners: the next one rings, or one of them answered.
      this.peer = { ...this.peer, id: data?.listenerId ?? this.peer.id, name: data?.listenerName ?? '' };
      this.#changed();
    }
    else if (eventName === 'hangOnVoip' && this.role === 'listener' && !this.#answered) {
      // Another page of the same party was quicker.
      this.end = { eventName: 'answeredElsewhere', data: {} };
      this.#phase('ended');
    } else if (eventName === 'startVoip' && !this.ended) {
      this.startTime = data?.startTime ?? null;
      this.#phase('talking');
    } else if (eventName === 'finishVoip') {
      this.bill = data ?? {};
      this.#changed();
    } else if (ENDING.has(eventName)) {
      this.end ??= { eventName, data: data ?? {}, ...(reason ? { reason } : {}) };
      if (eventName === 'endVoip') this.summary = data ?? {};
      this.#close();
      this.#phase('ended');
    }
  }

  get muted() {
    return this.#leg?.muted ?? false;
  }

  get cameraOff() {
    return this.#leg?.cameraOff ?? this.roomType === 'voice';
  }

  get notices() {
    return this.#leg?.notices ?? [];
  }

  get #path() {
    return `/v1/calls/${encodeURIComponent(this.roomId)}`;
  }

  get #wantsCamera() {
    return this.roomType === 'video' && this.self.cameraStatus !== 1;
  }

  /** Names and profiles as the node knows them: a device is shown by the name it was authorised with. */
  #learn({ caller, listener, callerProfile = null, listenerProfile = null }) {
    this.callerProfile = callerProfile;
    this.listenerProfile = listenerProfile;
    const [mine, other] = this.role === 'caller' ? [caller, listener] : [listener, caller];
    if (mine?.name) this.self = { ...this.self, name: mine.name };
    if (other?.id) this.peer = { ...this.peer, id: other.id, name: other.name || this.peer.name };
    this.#changed();
  }

  /** A person may think longer about a permission than the join timer allows: then this waits, else it only begins. */
  async #openMedia() {
    const opened = this.#open();
    const quick = (await this.#leg?.permitted?.({ camera: this.#wantsCamera })) ?? true;
    if (quick) opened.catch(() => {});
    else await opened;
  }

  #open() {
    if (this.#opened) return this.#opened;
    this.#leg = this.#media();
    const settings = {
      video: this.roomType === 'video',
      cameraOff: !this.#wantsCamera,
      facingMode: this.#facing,
      encode: this.#encode,
      baseUrl: this.#backend.baseUrl,
    };
    const hooks = {
      onLocal: (stream) => {
        this.local = stream;
        this.#changed();
      },
      onRemote: (stream) => {
        this.remote = stream;
        this.#changed();
      },
      onState: (state) => {
        if (state === 'closed') return;
        this.path = state;
        this.#changed();
        if (state === 'failed' && this.phase === 'talking') {
          this.#credential = null;
          this.#join();
        }
      },
    };
    const open = async () => this.#leg?.open(settings, hooks);
    this.#opened = open();
    return this.#opened;
  }

  #join() {
    if (!this.#leg) return Promise.resolve(); // events and requests only
    this.#joining ??= this.#tryToJoin().finally(() => {
      this.#joining = null;
    });
    return this.#joining;
  }

  async #tryToJoin() {
    const giveUpAt = now() + JOIN_RETRY_MS;
    try {
      await this.#opened;
    } catch (error) {
      this.#lost(error);
      return;
    }
    for (;;) {
      if (this.ended) return;
      try {
        if (this.#credential === null) {
          const answer = await this.#backend.json('POST', `${this.#path}/join`, { body: {} });
          this.#credential = answer?.credential ?? null;
          if (answer?.role === 'caller' || answer?.role === 'listener') this.role = answer.role;
        }
        const credential = this.#credential;
        this.#credential = null; // single use
        await this.#leg.join(this.roomId, credential);
        return;
      } catch (error) {
        if (this.ended) return;
        // 4xx other than a spent credential will not change by asking again.
        const final = error.httpStatus >= 400 && error.httpStatus < 500 && error.httpStatus !== 401;
        if (final || now() > giveUpAt) {
          // The call may just have ended (busy, cancelled): its event, on another connection, knows the reason.
          await pause(RETRY_PAUSE_MS);
          if (this.ended) return;
          this.#lost(error instanceof Error && 'errCode' in error ? error : new VoipJoinError(String(error), CODE.JOIN_FAILED));
          return;
        }
        await pause(RETRY_PAUSE_MS);
      }
    }
  }

  /** This page cannot take part: tell the node, so that the other side need not wait for the join timer. */
  #lost(error) {
    if (this.ended) return;
    this.#fail(error);
    this.#tell('fail', { errMsg: String(error.errMsg ?? error).slice(0, 256) }).catch(() => {});
  }

  #fail(error) {
    this.failure = error;
    this.#close();
    this.#phase('ended');
  }

  #tell(verb, body, keepalive = false) {
    return this.#backend.json('POST', `${this.#path}/${verb}`, { body, keepalive, key: `${verb}-${this.roomId}-${this.self.id}` });
  }

  #close() {
    if (this.#closed) return;
    this.#closed = true; // once: an application's own media may belong to the next call by then
    this.#leg?.close();
  }

  #phase(phase) {
    if (this.phase === 'ended' && phase !== 'ended') return;
    this.phase = phase;
    this.#changed();
  }
}
