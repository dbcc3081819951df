/**
 * Ticker: makes the `calling` event of each second from the node's start time.
 *
 * The two clocks differ, so the difference is estimated from the events themselves: the one that travelled fastest
 * gives the smallest `local - remote`, and replayed events, which look slow, never win.
 */
import { now } from './runtime.js';

export class Clock {
  #offset = Infinity;

  /** Learns from an event that was stamped by the node at `timestamp` (ms) and arrives now. */
  learn(timestamp) {
    if (Number.isFinite(timestamp)) this.#offset = Math.min(this.#offset, now() - timestamp);
  }

  /** Milliseconds on the node's clock; monotonic where the runtime is, so a changed wall clock does not move it. */
  now() {
    return Number.isFinite(this.#offset) ? now() - this.#offset : Date.now();
  }
}

export class Ticker {
  #clock;
  #onTick;
  #timer = 0;
  #startTime = null;
  #last = 0;

  constructor(clock, onTick) {
    this.#clock = clock;
    this.#onTick = onTick;
  }

  /** Seconds talked so far, whole; 0 before the start. */
  get keepTime() {
    if (this.#startTime === null) return 0;
    return Math.max(0, Math.floor((this.#clock.now() - this.#startTime) / 1000));
  }

  /** Begins at `startTime` (ms on the node's clock); now, when the node did not say. */
  start(startTime) {
    this.stop();
    this.#startTime = Number.isFinite(startTime) ? startTime : this.#clock.now();
    this.#last = 0;
    this.#plan();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#startTime = null;
  }

  #plan() {
    const elapsed = this.#clock.now() - this.#startTime;
    const next = (Math.floor(Math.max(0, elapsed) / 1000) + 1) * 1000;
    this.#timer = setTimeout(() => {
      // A sleeping tab skips seconds; it tells the present one, not all that were missed.
      const { keepTime } = this;
      if (keepTime > this.#last) {
        this.#last = keepTime;
        this.#onTick(keepTime);
      }
      if (this.#startTime !== null) this.#plan();
    }, next - elapsed + 2);
  }
}
