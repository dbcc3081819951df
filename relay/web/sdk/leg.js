/**
 * Leg: this page's media connection to the relay.
 *
 * Offer in one piece (the relay is ICE-lite, it needs none of our candidates, so gathering is waited for at most 1 s),
 * POST to the call's legs, apply the answer. A path that breaks is restarted through PATCH on the leg's Location (RFC 8840
 * fragment, as in WHIP, RFC 9725 section 4.3.2); when that fails the leg is `failed` and its owner joins anew.
 *
 * An application with media of its own gives `connect()` an object with these members instead: open, join, setMuted,
 * setCameraOff, stats, silence, close, muted, cameraOff, notices.
 */
import { capture, openCamera, permitted } from './capture.js';
import { CODE, VoipJoinError } from './errors.js';
import { Framing, needsFraming } from './framing.js';
import { Meter } from './stats.js';

const GATHERING_MS = 1_000;
const CONNECT_MS = 8_000;
const BROKEN_MS = 2_000; // "disconnected" often heals by itself within this time
const VIDEO_MAX_BPS = 1_500_000;

export class Leg {
  notices = [];
  #backend;
  #hooks = null;
  #video = false;
  #facing = 'user';
  #encode = {};
  #framing = null;
  #stream = null;
  #connection = null;
  #location = null;
  #answer = '';
  #credential = null;
  #meter = new Meter();
  #broken = 0;
  #restarting = false;
  #closed = false;
  #muted = false;
  #cameraOff = true;

  constructor(backend) {
    this.#backend = backend;
  }

  get muted() {
    return this.#muted;
  }

  get cameraOff() {
    return this.#cameraOff;
  }

  /** Whether `open` will not have to ask a person, who may take longer than the join timer. */
  permitted({ camera }) {
    return permitted({ camera });
  }

  /**
   * Opens microphone and camera. `encode` holds what the picture has to be like: {fixedLength, rotation, ratio, maxFPS}.
   * `hooks`: onLocal(stream), onRemote(stream), onState('connecting' | 'connected' | 'broken' | 'failed' | 'closed').
   * Throws a VoipJoinError.
   */
  async open({ video, cameraOff = false, facingMode = 'user', encode = {} }, hooks) {
    this.#hooks = hooks;
    this.#video = video;
    this.#cameraOff = cameraOff || !video;
    this.#facing = facingMode;
    this.#encode = encode;
    const { stream, notices } = await capture({ camera: video && !this.#cameraOff, facingMode });
    if (this.#closed) {
      stream.getTracks().forEach((track) => track.stop());
      throw new VoipJoinError('closed while the microphone was opened', CODE.INTERRUPTED);
    }
    this.notices = notices;
    this.#stream = stream;
    if (video && stream.getVideoTracks().length === 0) this.#cameraOff = true;
    this.#frame();
    this.#applyMute();
    hooks.onLocal(stream);
  }

  /**
   * Connects with a join credential; may be called again with a fresh one. Resolves when media can flow.
   * Throws a VoipError, the node's own or 2004 when the path did not come up.
   */
  async join(roomId, credential) {
    this.#drop();
    this.#location = null; // the node replaces the former leg of this party by the new one
    const connection = this.#connect();
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    if (this.#closed) throw new VoipJoinError('closed while joining', CODE.INTERRUPTED);
    const { text, location } = await this.#backend.sdp('POST', `/v1/calls/${encodeURIComponent(roomId)}/legs`, {
      body: connection.localDescription.sdp,
      bearer: credential,
    });
    this.#location = location;
    this.#credential = credential;
    this.#answer = text;
    if (this.#closed) throw new VoipJoinError('closed while joining', CODE.INTERRUPTED);
    try {
      await connection.setRemoteDescription({ type: 'answer', sdp: text });
    } catch (cause) {
      throw new VoipJoinError(`the answer does not fit: ${cause.message}`, CODE.MEDIA_INIT_FAILED, { cause });
    }
    await connected(connection);
    await this.#limitSending();
  }

  setMuted(muted) {
    this.#muted = Boolean(muted);
    this.#applyMute();
  }

  /** Camera off closes the camera, so that its light goes out too. On may throw a VoipJoinError. */
  async setCameraOff(off) {
    if (!this.#video || Boolean(off) === this.#cameraOff) return;
    const sender = this.#connection?.getTransceivers().find(({ receiver }) => receiver.track.kind === 'video')?.sender;
    if (off) {
      this.#framing?.stop();
      this.#framing = null;
      for (const track of this.#stream?.getVideoTracks() ?? []) {
        track.stop();
        this.#stream.removeTrack(track);
      }
      this.#cameraOff = true;
      await sender?.replaceTrack(null);
    } else {
      const [track] = (await openCamera(this.#facing)).getVideoTracks();
      if (this.#closed || !this.#stream) {
        track.stop();
        return;
      }
      this.#stream.addTrack(track);
      this.#cameraOff = false;
      this.#frame();
      await sender?.replaceTrack(this.#sent('video'));
    }
    this.#hooks.onLocal(this.#stream);
  }

  /** One reading; null while there is no connection. */
  async stats() {
    return this.#connection ? this.#meter.read(this.#connection) : null;
  }

  /**
   * Ends capture at once but keeps the connection: the hang-up must reach the node before the leg disappears,
   * or the node would take the leg for lost.
   */
  silence() {
    this.#stream?.getTracks().forEach((track) => track.stop());
  }

  /**
   * Ends the leg on this side; safe to call twice. There is no DELETE: a leg ends with its call, of which the node was
   * told (hang-up, failure) or which it ended itself.
   */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#framing?.stop();
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.#drop();
    this.#hooks?.onState('closed');
  }

  #connect() {
    const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.#connection = connection;
    const remote = new MediaStream();
    connection.ontrack = ({ track }) => {
      remote.addTrack(track);
      this.#hooks.onRemote(remote);
    };
    connection.onconnectionstatechange = () => this.#changed(connection);
    const streams = this.#stream ? [this.#stream] : [];
    for (const kind of this.#video ? ['audio', 'video'] : ['audio']) {
      connection.addTransceiver(this.#sent(kind) ?? kind, { direction: 'sendrecv', streams });
    }
    this.#hooks.onState('connecting');
    return connection;
  }

  #changed(connection) {
    if (connection !== this.#connection || this.#closed) return;
    clearTimeout(this.#broken);
    const state = connection.connectionState;
    if (state === 'connected') {
      this.#hooks.onState('connected');
    } else if (state === 'disconnected') {
      this.#hooks.onState('broken');
      this.#broken = setTimeout(() => this.#restart(connection), BROKEN_MS);
    } else if (state === 'failed') {
      // Before the first connection join() itself tells; afterwards a restart may still save the leg.
      if (connection.remoteDescription && this.#answer) this.#restart(connection);
    }
  }

  async #restart(connection) {
    if (this.#restarting || this.#closed || connection !== this.#connection) return;
    this.#restarting = true;
    this.#hooks.onState('broken');
    try {
      await connection.setLocalDescription(await connection.createOffer({ iceRestart: true }));
      await gathered(connection);
      const { text } = await this.#backend.sdp('PATCH', this.#location, {
        body: fragment(connection.localDescription.sdp),
        type: 'application/trickle-ice-sdpfrag',
        bearer: this.#credential,
      });
      this.#answer = restarted(this.#answer, text);
      await connection.setRemoteDescription({ type: 'answer', sdp: this.#answer });
      await connected(connection);
      if (!this.#closed && connection === this.#connection) this.#hooks.onState('connected');
    } catch {
      if (!this.#closed && connection === this.#connection) this.#hooks.onState('failed');
    } finally {
      this.#restarting = false;
    }
  }

  /** Puts the camera's track into the form asked for. */
  #frame() {
    const [camera] = this.#stream.getVideoTracks();
    if (camera && needsFraming(this.#encode)) this.#framing = new Framing(camera, this.#encode);
  }

  #sent(kind) {
    if (kind === 'video' && this.#framing) return this.#framing.track;
    return this.#stream?.getTracks().find((track) => track.kind === kind) ?? null;
  }

  #applyMute() {
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = !this.#muted;
  }

  async #limitSending() {
    const sender = this.#connection?.getSenders().find(({ track }) => track?.kind === 'video');
    if (!sender) return;
    const parameters = sender.getParameters();
    if (!parameters.encodings?.length) return;
    parameters.encodings[0].maxBitrate = VIDEO_MAX_BPS;
    if (this.#encode.maxFPS) parameters.encodings[0].maxFramerate = this.#encode.maxFPS;
    // Who asked for a size wants that size, rather with fewer frames.
    if (needsFraming(this.#encode)) parameters.degradationPreference = 'maintain-resolution';
    await sender.setParameters(parameters).catch(() => {}); // a wish; the browser may know better
  }

  #drop() {
    clearTimeout(this.#broken);
    if (!this.#connection) return;
    this.#connection.onconnectionstatechange = null;
    this.#connection.ontrack = null;
    this.#connection.close();
    this.#connection = null;
    this.#answer = '';
    this.#meter = new Meter();
  }
}

function gathered(connection) {
  if (connection.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((done) => {
    const timer = setTimeout(done, GATHERING_MS);
    connection.addEventListener('icegatheringstatechange', () => {
      if (connection.iceGatheringState !== 'complete') return;
      clearTimeout(timer);
      done();
    });
  });
}

function connected(connection) {
  return new Promise((done, fail) => {
    const finish = (why) => {
      clearTimeout(timer);
      connection.removeEventListener('connectionstatechange', check);
      if (why) fail(new VoipJoinError(`media path: ${why}`, CODE.MEDIA_JOIN_FAILED, { extErrMsg: why }));
      else done();
    };
    const check = () => {
      if (connection.connectionState === 'connected') finish(null);
      else if (['failed', 'closed'].includes(connection.connectionState)) finish(connection.connectionState);
    };
    const timer = setTimeout(() => finish(`not up after ${CONNECT_MS / 1000} s`), CONNECT_MS);
    connection.addEventListener('connectionstatechange', check);
    check();
  });
}

/** The fragment of an offer that a restart needs: credentials, the first m-line (all are bundled) and its candidates. */
function fragment(sdp) {
  const lines = sdp.split(/\r?\n/);
  const one = (prefix) => lines.find((line) => line.startsWith(prefix));
  const kept = [one('a=ice-ufrag:'), one('a=ice-pwd:'), one('m='), one('a=mid:'), ...lines.filter((l) => l.startsWith('a=candidate:'))];
  return `${kept.filter(Boolean).join('\r\n')}\r\na=end-of-candidates\r\n`;
}

/** The former answer with the credentials, and where given the candidates, of the restart's answer. */
function restarted(answer, text) {
  const ufrag = /^a=ice-ufrag:.*$/m.exec(text)?.[0].trim();
  const pwd = /^a=ice-pwd:.*$/m.exec(text)?.[0].trim();
  if (!ufrag || !pwd) throw new VoipJoinError('the answer to the restart has no credentials', CODE.MEDIA_JOIN_FAILED);
  return answer.replace(/^a=ice-ufrag:.*$/gm, ufrag).replace(/^a=ice-pwd:.*$/gm, pwd);
}
