/** Icons: the few line drawings of the pages, as SVG text; decoration only, every button has words too. */

const draw = (body) =>
  `<svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">${body}</svg>`;

const HANDSET =
  '<path d="M5.2 3.5h3.1c.5 0 .9.3 1 .8l.8 3.3c.1.4 0 .8-.3 1.1L8 10.4a12.6 12.6 0 0 0 5.6 5.6l1.7-1.8c.3-.3.7-.4 1.1-.3l3.3.8c.5.1.8.5.8 1v3.1c0 .9-.7 1.7-1.7 1.7C10.6 20.5 3.5 13.4 3.5 5.200c0-1 .8-1.7 1.7-1.700Z" fill="currentColor" stroke="none"/>';

export const ICONS = {
  phone: draw(HANDSET),
  down: draw(`<g transform="rotate(135 12 12)">${HANDSET}</g>`),
  video: draw('<rect x="2.5" y="6" width="12.5" height="12" rx="3" fill="currentColor" stroke="none"/><path d="m16.5 10.8 4.2-2.700c.4-.2.8 0 .8.500v6.800c0 .5-.4.7-.8.500l-4.2-2.700Z" fill="currentColor" stroke="none"/>'),
  mic: draw('<rect x="9" y="3" width="6" height="11" rx="3"/><path d="M5.5 11.500a6.5 6.5 0 0 0 13 0M12 18v3"/>'),
  micOff: draw('<path d="M9 9.500V11a3 3 0 0 0 4.7 2.500M15 10.500V6a3 3 0 0 0-5.8-1M5.5 11.500A6.5 6.5 0 0 0 16 16.600M18.3 13a6 6 0 0 0 .2-1.500M12 18v3M4 3.500l16 17"/>'),
  camera: draw('<rect x="2.5" y="6" width="12.5" height="12" rx="3"/><path d="m15 11 5-3.200c.6-.3 1 0 1 .5v7.400c0 .5-.4.8-1 .5L15 13"/>'),
  cameraOff: draw('<path d="M8 6h4a3 3 0 0 1 3 3v2l5-3.200c.6-.3 1 0 1 .5v7.400M15 15.500A3 3 0 0 1 12 18H5.500a3 3 0 0 1-3-3V9a3 3 0 0 1 1.6-2.600M3 3l18 18"/>'),
  speaker: draw('<path d="M4 9.500v5h3.500L12 18.500v-13L7.500 9.500Z" fill="currentColor"/><path d="M15.5 9a4 4 0 0 1 0 6M18 6.500a7.500 7.500 0 0 1 0 11"/>'),
  ear: draw('<path d="M6.500 9a5.500 5.500 0 1 1 10.500 2.300c-.9 1.900-2.600 2.500-3.300 4.400-.6 1.700-.9 4.300-3.400 4.300-1.600 0-2.800-1-3.300-2.500M9.700 9.300a2.300 2.300 0 1 1 3.600 1.900c-.9.600-1.300 1.300-1.300 2.300"/>'),
  close: draw('<path d="M6 6l12 12M18 6 6 18"/>'),
  missed: draw('<path d="m4 7 7 7 9-9M15 5h5v5"/>'),
  out: draw('<path d="M6 18 18 6M9 6h9v9"/>'),
  in: draw('<path d="M18 6 6 18M15 18H6V9"/>'),
  check: draw('<path d="m5 12.5 4.5 4.500L19 7.5"/>'),
  alert: draw('<path d="M12 7v6.500M12 17v.2"/><circle cx="12" cy="12" r="9"/>'),
};

/** Puts the icons into every element below `root` that names one in `data-icon`. */
export function dress(root) {
  for (const node of root.querySelectorAll('[data-icon]')) node.innerHTML = ICONS[node.dataset.icon] ?? '';
}
