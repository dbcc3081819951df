/**
 * CustomBox: the half screen with the host application's own component, opened by the button of setCustomBtnText.
 *
 * The host gives the component in one of two ways: a `<template id="custombox">` in the page, which is copied into the box,
 * or a function `customBox(container, { callerId, listenerId, roomId, close })`, which may return a function that is called when the
 * box closes. The container also has the two ids in its data-caller-id and data-listener-id.
 */
import { dress } from './icons.js';
import { translate } from './phrases.js';

export class CustomBox {
  #voip;
  #panel;
  #opener;
  #fill;
  #clean = null;
  #open = false;

  /** `panel` is the half screen, `opener` the button; `fill` is the host's function, if it has one. */
  constructor(voip, { panel, opener, fill }) {
    this.#voip = voip;
    this.#panel = panel;
    this.#opener = opener;
    this.#fill = fill ?? fromTemplate;
    opener.addEventListener('click', () => this.#toggle(!this.#open));
    panel.querySelector('.box-close').addEventListener('click', () => this.close());
    panel.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape') return;
      event.stopPropagation();
      this.close();
    });
    dress(panel);
  }

  /** Draws the SDK's state: the button is the called user's, once the talk began. */
  update({ kind, role, phase, ui }) {
    const offered = ui.btnText !== '' && kind !== 'device' && role === 'listener' && phase === 'talking';
    this.#opener.hidden = !offered;
    this.#opener.textContent = ui.btnText;
    this.#panel.querySelector('h2').textContent = ui.btnText;
    // A share of the stage: on a large screen the stage is not as high as the window.
    this.#panel.style.height = ui.customBoxHeight.replace('vh', '%');
    if (this.#open && !offered) this.close();
  }

  close() {
    if (!this.#open) return;
    this.#toggle(false);
    if (!this.#opener.hidden) this.#opener.focus({ preventScroll: true });
  }

  #toggle(open) {
    this.#open = open;
    this.#panel.hidden = !open;
    this.#opener.setAttribute('aria-expanded', String(open));
    const content = this.#panel.querySelector('.box-content');
    if (open) {
      const { callerId, listenerId, roomId } = this.#voip.state();
      Object.assign(content.dataset, { callerId, listenerId });
      this.#clean = this.#fill(content, { callerId, listenerId, roomId, close: () => this.close() }) ?? null;
      this.#panel.querySelector('.box-close').focus({ preventScroll: true });
    } else {
      if (typeof this.#clean === 'function') this.#clean();
      content.replaceChildren();
    }
    this.#voip.setCustomBox(open);
  }
}

/** The page's own template; elements with data-fill="callerId" or "listenerId" get that id. */
function fromTemplate(container, ids) {
  const template = document.getElementById('custombox');
  if (!template) return;
  container.append(template.content.cloneNode(true));
  translate(container);
  for (const node of container.querySelectorAll('[data-fill]')) node.textContent = ids[node.dataset.fill] ?? '';
}
