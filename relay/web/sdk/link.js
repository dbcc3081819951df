/**
 * Link: the event WebSocket of one party, which stays up by itself.
 *
 * Every event reaches `onEvent` once and in order: after a break the link asks for `?after=SEQ` and drops what it has
 * seen. A node that was started anew counts from the beginning; such a number, old but with another content, resets the
 * count instead of silencing the party. Heartbeats go out every 5 s; a link without any frame for 15 s is taken as dead.
 */

export const HEARTBEAT_MS = 5_000;
export const SILENCE_MS = 15_000;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 8_000;
const REMEMBERED = 256;

export class Link {
  #url;
  #token;
  #hooks;
  #socket = null;
  #attempt = 0;
  #lastSeq = null;
  #seen = new Map();
  #heardAt = 0;
  #beat = 0;
  #retry = 0;
  #closed = false;
  #wake = () => this.#now();

  /**
   * `token` is an async function of `fresh`; hooks: onEvent(event), onState('online' | 'connecting' | 'offline'),
   * onFailure(attempt) after each connection that never opened.
   */
  constructor(url, token, hooks) {
    this.#url = url;
    this.#token = token;
    this.#hooks = hooks;
    globalThis.addEventListener?.('online', this.#wake);
    this.#open();
  }

  get lastSeq() {
    return this.#lastSeq;
  }

  /** Ends the link for good. */
  close() {
    this.#closed = true;
    clearTimeout(this.#retry);
    clearInterval(this.#beat);
    globalThis.removeEventListener?.('online', this.#wake);
    this.#socket?.close(1000);
    this.#socket = null;
  }

  async #open() {
    this.#hooks.onState('connecting');
    let token;
    try {
      token = await this.#token(this.#attempt > 0);
    } catch {
      this.#hooks.onFailure(this.#attempt);
      this.#later();
      return;
    }
    if (this.#closed) return;
    const url = this.#lastSeq === null ? this.#url : `${this.#url}?after=${this.#lastSeq}`;
    // Browsers cannot set headers on a WebSocket: the token travels as a subprotocol.
    const socket = new WebSocket(url, ['relay.events', `bearer.${token}`]);
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#attempt = 0;
      this.#heardAt = performance.now();
      clearInterval(this.#beat);
      this.#beat = setInterval(() => this.#heartbeat(socket), HEARTBEAT_MS);
      this.#hooks.onState('online');
    };
    socket.onmessage = ({ data }) => {
      this.#heardAt = performance.now();
      if (this.#socket === socket) this.#frame(data);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      clearInterval(this.#beat);
      if (this.#closed) return;
      if (!opened) this.#hooks.onFailure(this.#attempt);
      this.#later();
    };
  }

  #frame(data) {
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return;
    }
    if (typeof event?.eventName !== 'string') return; // the echo of a heartbeat
    const { seq } = event;
    if (Number.isInteger(seq)) {
      const mark = `${event.timestamp} ${event.eventName} ${event.roomId}`;
      if (this.#lastSeq !== null && seq <= this.#lastSeq) {
        const known = this.#seen.get(seq);
        if (known === undefined || known === mark) return;
        this.#seen.clear();
      }
      this.#lastSeq = seq;
      this.#seen.set(seq, mark);
      if (this.#seen.size > REMEMBERED) this.#seen.delete(this.#seen.keys().next().value);
    }
    this.#hooks.onEvent(event);
  }

  #heartbeat(socket) {
    if (performance.now() - this.#heardAt > SILENCE_MS) {
      // close() may take minutes on a dead network: leave the socket behind at once.
      this.#socket = null;
      clearInterval(this.#beat);
      socket.onmessage = null;
      socket.close();
      this.#later();
      return;
    }
    if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"heartbeat"}');
  }

  #later() {
    const longest = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#attempt);
    this.#attempt += 1;
    this.#hooks.onState(this.#attempt > 1 ? 'offline' : 'connecting');
    clearTimeout(this.#retry);
    // Half fixed, half random: a restarted node does not meet all its parties in the same instant.
    this.#retry = setTimeout(() => this.#open(), longest * (0.5 + Math.random() / 2));
  }

  #now() {
    if (this.#closed || this.#socket) return;
    clearTimeout(this.#retry);
    this.#open();
  }
}
