/**
 * Link: the event WebSocket of one party, which stays up by itself.
 *
 * Every event reaches `onEvent` once and in order: after a break the link asks for `?after=SEQ` and drops what it has
 * seen. A node that was started anew counts from the beginning; such a number, old but with another content, resets the
 * count instead of silencing the party. Heartbeats go out every 5 s; a link without any frame for 15 s is taken as dead.
 * A frame {"type":"gap"} says that events were forgotten before they could be replayed.
 */
import { now, onOnline, openSocket } from './runtime.js';

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
  #Class;
  #off;

  /**
   * `token` is an async function of `fresh`; hooks: onEvent(event), onGap(), onState('online' | 'connecting' | 'offline'),
   * onFailure(attempt, error) after each connection that never opened; error is the token's or socket's own, else null.
   */
  constructor(url, token, hooks, Class) {
    this.#url = url;
    this.#token = token;
    this.#hooks = hooks;
    this.#Class = Class;
    this.#off = onOnline(() => this.#now());
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
    this.#off();
    this.#socket?.close();
    this.#socket = null;
  }

  async #open() {
    this.#hooks.onState('connecting');
    let token;
    try {
      token = await this.#token(this.#attempt > 0);
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (this.#closed) return;
    const url = this.#lastSeq === null ? this.#url : `${this.#url}?after=${this.#lastSeq}`;
    let opened = false;
    const on = {
      open: () => {
        if (this.#socket !== socket) return;
        opened = true;
        this.#attempt = 0;
        this.#heardAt = now();
        clearInterval(this.#beat);
        this.#beat = setInterval(() => this.#heartbeat(socket), HEARTBEAT_MS);
        this.#hooks.onState('online');
      },
      message: (text) => {
        if (this.#socket !== socket) return;
        this.#heardAt = now();
        this.#frame(text);
      },
      close: () => {
        if (this.#socket !== socket) return;
        this.#socket = null;
        clearInterval(this.#beat);
        if (this.#closed) return;
        if (opened) this.#later();
        else this.#failed(null);
      },
    };
    let socket = null;
    try {
      // Browsers cannot set headers on a WebSocket: the token travels as a subprotocol.
      socket = openSocket(url, ['relay.events', `bearer.${token}`], on, this.#Class);
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#socket = socket;
  }

  #failed(error) {
    if (this.#closed) return;
    this.#hooks.onFailure(this.#attempt, error);
    this.#later();
  }

  #frame(data) {
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return;
    }
    if (event?.type === 'gap') this.#hooks.onGap();
    if (typeof event?.eventName !== 'string') return; // a gap, or the echo of a heartbeat
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
    if (now() - this.#heardAt > SILENCE_MS) {
      // close() may take minutes on a dead network: leave the socket behind at once.
      this.#socket = null;
      clearInterval(this.#beat);
      socket.close();
      this.#later();
      return;
    }
    if (socket.isOpen) socket.send('{"type":"heartbeat"}');
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
