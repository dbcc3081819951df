/**
 * Speaker: hands-free or at the ear, for devices. Browsers have no such switch, so the earpiece is the output of that name
 * where the machine shows one; elsewhere the sound is turned down to what an ear close by needs.
 */

const EARPIECE = /earpiece|handset|receiver|听筒/i;
const QUIET = 0.3; // share of the full volume

export class Speaker {
  #media;
  #handsFree = true;

  /** `media` is the audio or video element that plays the other side. */
  constructor(media) {
    this.#media = media;
  }

  get handsFree() {
    return this.#handsFree;
  }

  async set(handsFree) {
    if (handsFree === this.#handsFree) return;
    this.#handsFree = handsFree;
    const earpiece = await this.#earpiece();
    if (handsFree !== this.#handsFree) return; // changed meanwhile
    this.#media.volume = handsFree || earpiece ? 1 : QUIET;
    if (earpiece) await this.#media.setSinkId(handsFree ? '' : earpiece).catch(() => {});
  }

  async #earpiece() {
    if (!this.#media.setSinkId || !navigator.mediaDevices) return null;
    const devices = await navigator.mediaDevices.enumerateDevices().catch(() => []);
    return devices.find(({ kind, label }) => kind === 'audiooutput' && EARPIECE.test(label))?.deviceId ?? null;
  }
}
