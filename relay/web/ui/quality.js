/**
 * Quality: bars and a word for how good the connection is, from the SDK's stats.
 * A grade must last two readings before it is shown, so that one lost packet does not flicker.
 */
import { t } from './phrases.js';

/** Worst values [loss share, rtt ms] that still earn the grade 4, 3, 2; worse is 1. */
const LIMITS = [
  [4, 0.01, 150],
  [3, 0.03, 300],
  [2, 0.08, 600],
];

/** Grade 0 (nothing arrives) to 4; null when nothing is known yet. */
export function grade(stats, path) {
  if (path === 'broken' || path === 'failed') return 0;
  if (!stats) return null;
  const loss = Math.max(stats.loss ?? 0, stats.sent.audio.loss ?? 0, stats.sent.video.loss ?? 0);
  const rtt = stats.rtt ?? 0;
  const [found] = LIMITS.find(([, lossMax, rttMax]) => loss <= lossMax && rtt <= rttMax) ?? [1];
  return found;
}

export class Quality {
  #element;
  #shown = null;
  #candidate = null;

  constructor(element) {
    this.#element = element;
    element.setAttribute('role', 'img');
    element.innerHTML = '<span class="bars" aria-hidden="true"><i></i><i></i><i></i><i></i></span><span class="word"></span>';
  }

  update(stats, path) {
    const now = grade(stats, path);
    if (now === null) return;
    if (this.#shown === null || now === 0 || now === this.#candidate) this.#shown = now;
    this.#candidate = now;
    this.render();
  }

  reset() {
    this.#shown = null;
    this.#candidate = null;
    this.render();
  }

  render() {
    const known = this.#shown !== null;
    this.#element.hidden = !known;
    if (!known) return;
    const word = t(`quality.${this.#shown}`);
    this.#element.dataset.grade = this.#shown;
    this.#element.querySelector('.word').textContent = word;
    this.#element.setAttribute('aria-label', t('quality.label', { word }));
  }
}
