/**
 * Stage: the call itself, shown over a page's home view: ringing, waiting, talking, ended.
 * It only draws the SDK's state and passes taps on; it decides nothing about the call.
 */
import { CustomBox } from './custombox.js';
import { dress } from './icons.js';
import { onLanguage, t, translate } from './phrases.js';
import { Pictures } from './pictures.js';
import { Quality } from './quality.js';
import { Speaker } from './speaker.js';
import { clockFace } from './timer.js';
import { ofEnd } from './verdict.js';

const STATS_MS = 1_000;
const STILL_READINGS = 3;

const MARKUP = `
  <div class="picture" data-place="none"><video id="remote" autoplay playsinline data-t-label="call.remote"></video></div>
  <div class="picture" data-place="none"><video id="local" autoplay playsinline muted data-t-label="call.local"></video></div>
  <button type="button" id="veil" hidden></button>
  <button type="button" id="swap" data-t-label="call.swap"></button>
  <div class="top">
    <strong class="peer-name"></strong>
    <span class="meters"><span id="quality" hidden></span><time id="timer" role="timer">00:00</time></span>
  </div>
  <div class="person">
    <div class="avatar large" aria-hidden="true"></div>
    <h2 class="peer-name"></h2>
    <p class="line"></p>
  </div>
  <div class="verdict">
    <div class="verdict-icon"></div>
    <h2></h2>
    <p class="with"></p>
    <p class="advice"></p>
    <p class="duration"></p>
    <div class="verdict-buttons">
      <button type="button" id="again" class="button primary" data-t="call.again"></button>
      <button type="button" id="back" class="button" data-t="call.back"></button>
    </div>
  </div>
  <button type="button" id="hear" class="button primary" data-t="call.hear" hidden></button>
  <button type="button" id="custom" class="button" aria-expanded="false" aria-controls="custombox-panel" hidden></button>
  <div class="controls" role="group" data-t-label="call.controls">
    <button type="button" id="mute" class="round" aria-pressed="false"><span class="disc"></span><span class="label"></span></button>
    <button type="button" id="speaker" class="round" aria-pressed="true"><span class="disc"></span><span class="label" data-t="call.speaker"></span></button>
    <button type="button" id="camera" class="round" aria-pressed="false"><span class="disc"></span><span class="label"></span></button>
    <button type="button" id="reject" class="round red"><span class="disc" data-icon="down"></span><span class="label" data-t="call.reject"></span></button>
    <button type="button" id="hangup" class="round red"><span class="disc" data-icon="down"></span><span class="label"></span></button>
    <button type="button" id="answer" class="round green"><span class="disc" data-icon="phone"></span><span class="label" data-t="call.answer"></span></button>
  </div>
  <section id="custombox-panel" class="box" role="dialog" aria-labelledby="custombox-title" hidden>
    <header><h2 id="custombox-title"></h2><button type="button" class="box-close" data-icon="close" data-t-label="call.box.close"></button></header>
    <div class="box-content"></div>
  </section>`;

export class Stage {
  #voip;
  #root;
  #state = null;
  #quality;
  #pictures;
  #speaker;
  #box;
  #bare = false; // the buttons are hidden by a tap on the picture
  #readings = 0;
  #swapped = false;
  #framesDecoded = -1;
  #stillFor = 0;
  #focused = null;

  /** `hooks`: onAgain(), onBack(), onError(error), and the host's customBox (custombox.js), which may be missing. */
  constructor(root, voip, hooks) {
    this.#root = root;
    this.#voip = voip;
    root.innerHTML = MARKUP;
    dress(root);
    this.#quality = new Quality(this.#one('#quality'));
    this.#pictures = new Pictures(root);
    this.#speaker = new Speaker(this.#one('#remote'));
    this.#box = new CustomBox(voip, { panel: this.#one('.box'), opener: this.#one('#custom'), fill: hooks.customBox });
    this.#wire(hooks);
    onLanguage(() => {
      translate(root);
      this.#quality.render();
      if (this.#state) this.update(this.#state);
    });
  }

  #one(selector) {
    return this.#root.querySelector(selector);
  }

  #wire({ onAgain, onBack, onError }) {
    const on = (id, act) => this.#one(id).addEventListener('click', () => Promise.resolve(act()).catch(onError));
    on('#answer', () => this.#voip.answer());
    on('#reject', () => this.#voip.reject());
    on('#hangup', () => this.#voip.hangUp());
    on('#mute', () => this.#voip.setMuted(!this.#state.muted));
    on('#camera', () => this.#voip.setCameraOff(!this.#state.cameraOff));
    on('#speaker', async () => {
      await this.#speaker.set(!this.#speaker.handsFree);
      this.update(this.#state);
    });
    on('#swap', () => {
      this.#swapped = !this.#swapped;
      this.update(this.#state);
    });
    on('#veil', () => this.#hideButtons(!this.#bare));
    on('#hear', () => this.#one('#remote').play());
    on('#again', onAgain);
    on('#back', onBack);
    this.#root.addEventListener('keydown', ({ key }) => {
      if (key === 'Escape' && this.#bare) this.#hideButtons(false);
    });
    this.#one('#remote').addEventListener('playing', () => {
      this.#one('#hear').hidden = true;
    });
  }

  /** Draws the SDK's state. */
  update(state) {
    const before = this.#state?.phase;
    this.#state = state;
    const { phase } = state;
    this.#root.hidden = phase === 'idle';
    this.#root.dataset.phase = phase;
    this.#root.dataset.kind = state.roomType ?? '';
    if (phase === 'idle') return;
    if (phase !== before) this.#entering(phase, before);
    const name = state.peer.name || state.peer.id;
    for (const node of this.#root.querySelectorAll('.peer-name')) node.textContent = name;
    this.#one('.avatar').textContent = [...name][0]?.toUpperCase() ?? '?';
    this.#one('.line').textContent = this.#line(state);
    this.#one('#timer').textContent = clockFace(state.keepTime);
    this.#attach('#local', state.local);
    this.#attach('#remote', state.remote);
    this.#pictures.update(state, this.#swapped);
    this.#buttons(state);
    this.#box.update(state);
    // A device with an end page of its own shows no other.
    this.#root.classList.toggle('leaving', phase === 'ended' && state.kind === 'device' && state.endPage !== null && !state.failure);
    if (phase === 'ended') this.#verdict(state);
    if (phase !== before) this.#focus(phase);
  }

  /** Hidden buttons neither take a tap nor the focus. */
  #hideButtons(bare) {
    this.#bare = bare;
    this.#root.classList.toggle('bare', bare);
    for (const node of this.#root.querySelectorAll('.controls, .top, #custom')) node.inert = bare;
    this.#nameVeil();
    if (bare) this.#one('#veil').focus({ preventScroll: true });
  }

  #nameVeil() {
    this.#one('#veil').setAttribute('aria-label', t(this.#bare ? 'call.buttons.show' : 'call.buttons.hide'));
  }

  #line({ phase, roomType, path }) {
    if (phase === 'ringing') return t(`state.ringing.${roomType}`);
    if (phase === 'talking' && (path === 'broken' || path === 'failed')) return t('state.broken');
    if (phase === 'talking' && roomType === 'video') return this.#root.classList.contains('still') ? t('call.still') : '';
    return t(`state.${phase}`);
  }

  #buttons({ kind, phase, role, roomType, muted, cameraOff, ui }) {
    const show = (id, shown) => {
      this.#one(id).hidden = !shown;
    };
    const live = ['calling', 'waiting', 'connecting', 'talking'].includes(phase);
    show('#answer', phase === 'ringing');
    show('#reject', phase === 'ringing');
    show('#hangup', live);
    show('#mute', live);
    const { enableToggleCamera } = role === 'caller' ? ui.callerUI : ui.listenerUI;
    const pictures = phase === 'talking' && roomType === 'video';
    show('#camera', live && roomType === 'video' && enableToggleCamera);
    show('#speaker', live && kind === 'device');
    show('#swap', pictures);
    show('#veil', pictures);
    this.#nameVeil();
    show('.controls', phase !== 'ended');
    this.#one('#hangup .label').textContent = t(phase === 'calling' || phase === 'waiting' ? 'call.cancel' : 'call.hangup');
    this.#toggle('#speaker', this.#speaker.handsFree, this.#speaker.handsFree ? 'speaker' : 'ear', 'call.speaker');
    this.#toggle('#mute', muted, muted ? 'micOff' : 'mic', muted ? 'call.unmute' : 'call.mute');
    this.#toggle('#camera', cameraOff, cameraOff ? 'cameraOff' : 'camera', cameraOff ? 'call.camera.on' : 'call.camera.off');
  }

  #toggle(id, pressed, icon, key) {
    const button = this.#one(id);
    button.setAttribute('aria-pressed', String(pressed));
    const disc = button.querySelector('.disc');
    if (disc.dataset.icon !== icon) {
      disc.dataset.icon = icon;
      dress(button);
    }
    button.querySelector('.label').textContent = t(key);
  }

  #attach(id, stream) {
    const video = this.#one(id);
    if (video.srcObject === stream) {
      // The camera may have been opened anew within the same stream; an element that stopped has to be told.
      if (stream && video.paused && id === '#local') video.play().catch(() => {});
      return;
    }
    video.srcObject = stream;
    if (!stream) return;
    video.play().catch((error) => {
      if (id === '#remote' && error.name === 'NotAllowedError') this.#one('#hear').hidden = false;
    });
  }

  #verdict(state) {
    const { title, advice, bad, keepTime } = ofEnd(state);
    const box = this.#one('.verdict');
    box.classList.toggle('bad', Boolean(bad));
    box.querySelector('h2').textContent = title;
    box.querySelector('.with').textContent = t('call.with', { name: state.peer.name || state.peer.id });
    box.querySelector('.advice').textContent = advice;
    box.querySelector('.duration').textContent = keepTime ? t('call.duration', { time: clockFace(keepTime) }) : '';
    this.#one('#back').textContent = t(state.endPage ? 'call.close' : 'call.back');
    box.querySelector('.verdict-icon').dataset.icon = bad ? 'alert' : 'check';
    dress(box);
  }

  #entering(phase, before) {
    if (before === undefined || before === 'idle' || before === 'ended') {
      this.#quality.reset();
      this.#root.classList.remove('still');
      this.#one('#hear').hidden = true;
      this.#swapped = false;
      this.#speaker.set(this.#state.kind !== 'device' || this.#state.ui.handsFree);
    }
    this.#hideButtons(false);
    if (phase === 'talking') {
      this.#swapped = this.#state.ui.isSelfWindowMax;
      this.#framesDecoded = -1;
      this.#stillFor = 0;
      clearInterval(this.#readings);
      this.#readings = setInterval(() => this.#read(), STATS_MS);
    } else if (phase === 'ended') {
      clearInterval(this.#readings);
    }
  }

  #focus(phase) {
    const first = { ringing: '#answer', waiting: '#hangup', calling: '#hangup', ended: '#back' }[phase];
    if (first && this.#focused !== phase) this.#one(first).focus({ preventScroll: true });
    this.#focused = phase;
  }

  async #read() {
    const stats = await this.#voip.stats().catch(() => null);
    const { phase, path, roomType } = this.#state;
    if (phase !== 'talking') return;
    this.#quality.update(stats, path);
    this.#root.style.setProperty('--level', Math.min(1, Math.sqrt(stats?.audio.audioLevel ?? 0)).toFixed(2));
    if (roomType !== 'video' || !stats) return;
    const moving = stats.video.framesDecoded !== this.#framesDecoded && stats.video.framesDecoded > 0;
    this.#framesDecoded = stats.video.framesDecoded;
    this.#stillFor = moving ? 0 : this.#stillFor + 1;
    this.#root.classList.toggle('still', this.#stillFor >= STILL_READINGS || stats.video.framesDecoded === 0);
    this.#one('.line').textContent = this.#line(this.#state);
  }
}
