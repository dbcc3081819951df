/**
 * Ringtone: the sound of an incoming call and the ring-back of an outgoing one, made with WebAudio.
 * Browsers keep a page silent until it was touched once; `silent` says whether that is still so.
 */

/** Notes of the chime in Hz with their start in seconds; the pattern repeats every CHIME_S. */
const CHIME = [
  [659.25, 0],
  [783.99, 0.18],
  [987.77, 0.36],
  [783.99, 0.72],
  [987.77, 0.9],
  [1174.66, 1.08],
];
const CHIME_S = 2.6;

/** Ring-back as Chinese networks send it: 450 Hz, 1 s of 5 s. */
const BACK_HZ = 450;
const BACK_ON_S = 1;
const BACK_S = 5;

export class Ringtone {
  #context = null;
  #gain = null;
  #timer = 0;
  #kind = null;

  constructor() {
    for (const name of ['pointerdown', 'keydown']) {
      addEventListener(name, () => this.#context?.resume(), { capture: true, passive: true });
    }
  }

  get silent() {
    return !(navigator.userActivation?.hasBeenActive ?? true);
  }

  /** Plays 'incoming' or 'outgoing' until another kind or null. */
  play(kind) {
    if (kind === this.#kind) return;
    this.#kind = kind;
    clearInterval(this.#timer);
    this.#hush();
    navigator.vibrate?.(0);
    if (kind === null) return;
    const round = () => this.#round(kind);
    round();
    this.#timer = setInterval(round, (kind === 'incoming' ? CHIME_S : BACK_S) * 1000);
  }

  #round(kind) {
    this.#context ??= new AudioContext();
    this.#context.resume().catch(() => {});
    this.#gain ??= this.#fresh();
    const now = this.#context.currentTime + 0.02;
    if (kind === 'incoming') {
      for (const [hz, at] of CHIME) this.#note(hz, now + at, 0.5, 0.22, 'triangle');
      if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.([400, 200, 400]);
    } else {
      this.#note(BACK_HZ, now, BACK_ON_S, 0.06, 'sine', true);
    }
  }

  #note(hz, at, seconds, volume, type, flat = false) {
    const tone = new OscillatorNode(this.#context, { frequency: hz, type });
    const shape = new GainNode(this.#context, { gain: 0 });
    shape.gain.setValueAtTime(0, at);
    shape.gain.linearRampToValueAtTime(volume, at + 0.015);
    if (flat) shape.gain.setValueAtTime(volume, at + seconds - 0.03);
    shape.gain[flat ? 'linearRampToValueAtTime' : 'exponentialRampToValueAtTime'](flat ? 0 : 0.0005, at + seconds);
    tone.connect(shape).connect(this.#gain);
    tone.start(at);
    tone.stop(at + seconds + 0.02);
  }

  #fresh() {
    const gain = new GainNode(this.#context);
    gain.connect(this.#context.destination);
    return gain;
  }

  #hush() {
    this.#gain?.disconnect();
    this.#gain = null;
  }
}
