/**
 * Modality: whether the page is used by keyboard, in `data-input` of the root element: 'pointer' or 'keyboard'.
 * A focus that the page itself moves is framed only for those who need the frame.
 */

const MODIFIERS = new Set(['Alt', 'Control', 'Meta', 'Shift']);

/** Starts to follow keys and pointers. */
export function followModality() {
  const root = document.documentElement;
  root.dataset.input = 'pointer';
  addEventListener('pointerdown', () => (root.dataset.input = 'pointer'), { capture: true, passive: true });
  addEventListener('keydown', ({ key }) => MODIFIERS.has(key) || (root.dataset.input = 'keyboard'), { capture: true, passive: true });
}
