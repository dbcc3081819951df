/**
 * camera-device: the plugin's component that shows the live picture of a device, as a web component.
 *
 *   <camera-device sn="door-1" model-id="m" device-name="Front door" token="…"></camera-device>
 *   camera.addEventListener('changeQuality', ({ detail }) => askTheDeviceFor(detail.index));
 *
 * Attributes of the plugin: `sn`, `model-id`, `device-name`, `video-quality-list` (a JSON list or comma separated, at most 5
 * entries). Ours: `room` (the WHEP room, else the sn), `base-url` (the node, else this page's), `token` (a player's token for
 * the room; the property may also be an async function), `lang`. The picture comes by WHEP: POST /whep/{room}.
 * The component changes no quality itself, as in the plugin: `changeQuality` tells the application, which tells the device.
 */
import { language } from './runtime.js';

const QUALITIES = ['360P', '480P', '720P', '1080P', '4K'];
const QUALITIES_MAX = 5;
const GATHERING_MS = 1_000;
const PICTURE_MS = 10_000; // from the answer to the first frame
/** Pauses before the tries after a picture that was lost; then a person has to ask. */
const RETRIES_MS = [1_000, 2_000, 4_000];

const WORDS = {
  en: {
    loading: 'Loading the picture …',
    retrying: 'The picture was lost, trying again …',
    retry: 'Try again',
    quality: 'Picture quality',
    sound: 'Sound',
    picture: 'Live picture of {name}',
    room: 'No device was named.',
    token: 'Nobody is signed in to see this device.',
    refused: 'You may not see this device.',
    offline: 'The device is not sending a picture.',
    network: 'The server cannot be reached.',
    failed: 'The picture could not be loaded.',
  },
  zh: {
    loading: '正在加载画面…',
    retrying: '画面中断，正在重试…',
    retry: '重试',
    quality: '画质',
    sound: '声音',
    picture: '{name} 的实时画面',
    room: '未指定设备。',
    token: '尚未登录，无法查看该设备。',
    refused: '您无权查看该设备。',
    offline: '设备当前没有发送画面。',
    network: '无法连接服务器。',
    failed: '画面加载失败。',
  },
};

const MARKUP = `
  <style>
    :host { position: relative; display: block; aspect-ratio: 16 / 9; overflow: hidden; border-radius: 16px; background: #0e1821;
      color: #fff; font: 600 15px/1.4 system-ui, 'PingFang SC', 'Noto Sans CJK SC', sans-serif; }
    :host([hidden]), [hidden] { display: none !important; }
    video { width: 100%; height: 100%; object-fit: contain; }
    :host(:not([data-state='live'])) video { opacity: 0.25; }
    .bar { position: absolute; inset: auto 0 0; display: flex; align-items: center; gap: 8px; padding: 28px 12px 12px;
      background: linear-gradient(0deg, rgb(5 12 18 / 75%), transparent); }
    .name { flex: 1; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
    button { min-height: 40px; padding: 0 14px; border: 0; border-radius: 99px; background: rgb(255 255 255 / 20%); color: inherit;
      font: inherit; cursor: pointer; backdrop-filter: blur(8px); }
    button[aria-pressed='true'], [aria-checked='true'] { background: #fff; color: #14212e; }
    button:focus-visible { outline: 3px solid #6cb2ff; outline-offset: 2px; }
    .status { position: absolute; inset: 0 0 56px; display: flex; flex-direction: column; align-items: center; justify-content: center;
      gap: 14px; padding: 12px; text-align: center; }
    .spinner { width: 34px; height: 34px; border: 3px solid rgb(255 255 255 / 30%); border-top-color: #fff; border-radius: 50%;
      animation: turn 0.9s linear infinite; }
    @keyframes turn { to { transform: rotate(1turn); } }
    @media (prefers-reduced-motion: reduce) { .spinner { animation-duration: 6s; } }
    .retry { background: #0b7a75; }
    .menu { position: absolute; right: 12px; bottom: 60px; display: flex; flex-direction: column; gap: 4px; padding: 6px; max-height: calc(100% - 72px);
      overflow-y: auto; border-radius: 16px; background: rgb(14 24 33 / 94%);
      box-shadow: 0 0 0 1px rgb(255 255 255 / 22%), 0 8px 24px rgb(0 0 0 / 40%); }
    .menu button { background: none; border-radius: 12px; text-align: left; }
    .menu button[aria-checked='true'] { background: #fff; }
  </style>
  <video autoplay playsinline muted></video>
  <div class="status"><div class="spinner" aria-hidden="true"></div><div class="text" role="status" aria-live="polite"></div>
    <button type="button" class="retry" hidden></button></div>
  <div class="bar"><span class="name"></span>
    <button type="button" class="sound" aria-pressed="false"></button>
    <button type="button" class="quality" aria-haspopup="menu" aria-expanded="false"></button></div>
  <div class="menu" role="menu" hidden></div>`;

export class CameraDevice extends HTMLElement {
  static observedAttributes = ['sn', 'model-id', 'device-name', 'video-quality-list', 'room', 'base-url', 'token', 'lang'];

  #root = this.attachShadow({ mode: 'open' });
  #video;
  #token = null;
  #quality = 0;
  #state = 'loading';
  #reason = 'loading';
  #watch = null; // the present try: {connection, location, bearer, timer}
  #tries = 0;
  #planned = false;
  #menuShown = '';

  constructor() {
    super();
    this.#root.innerHTML = MARKUP;
    this.#video = this.#root.querySelector('video');
    this.#wire();
  }

  /** 'loading', 'live' or 'error'. */
  get state() {
    return this.#state;
  }

  /** The names of the qualities, at most five. */
  get videoQualityList() {
    const text = this.getAttribute('video-quality-list')?.trim();
    if (!text) return [...QUALITIES];
    const list = text.startsWith('[') ? parsed(text) : text.split(',');
    const names = list.map((name) => String(name).trim()).filter(Boolean);
    return names.length ? names.slice(0, QUALITIES_MAX) : [...QUALITIES];
  }

  set videoQualityList(list) {
    this.setAttribute('video-quality-list', JSON.stringify(list));
  }

  /** A text, or an async function that gives one. */
  get token() {
    return this.#token ?? this.getAttribute('token');
  }

  set token(token) {
    this.#token = token;
    this.#plan();
  }

  connectedCallback() {
    this.#plan();
  }

  disconnectedCallback() {
    this.#stop();
  }

  attributeChangedCallback(name) {
    if (['sn', 'room', 'base-url', 'token'].includes(name)) this.#plan();
    if (name === 'video-quality-list') this.#quality = 0;
    if (this.isConnected) this.#render();
  }

  /** Loads the picture anew. */
  retry() {
    this.#tries = 0;
    this.#start();
  }

  /** Attributes are often set one after another: one start for all of them. */
  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    queueMicrotask(() => {
      this.#planned = false;
      if (this.isConnected) this.retry();
    });
  }

  async #start() {
    this.#stop();
    const room = this.getAttribute('room') || this.getAttribute('sn');
    if (!room) return this.#show('error', 'room');
    const watch = { connection: null, location: null, bearer: null, timer: 0 };
    this.#watch = watch;
    this.#show('loading', this.#tries > 0 ? 'retrying' : 'loading');
    try {
      watch.bearer = typeof this.token === 'function' ? await this.token() : this.token;
      if (!watch.bearer) throw new Fault('token');
      if (watch === this.#watch) await this.#play(watch, room);
    } catch (error) {
      if (watch === this.#watch) this.#fail(error instanceof Fault ? error.reason : 'failed');
      else leave(watch);
    }
  }

  async #play(watch, room) {
    const connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    watch.connection = connection;
    const stream = new MediaStream();
    connection.ontrack = ({ track }) => stream.addTrack(track);
    connection.onconnectionstatechange = () => {
      if (watch !== this.#watch || !['failed', 'disconnected'].includes(connection.connectionState)) return;
      this.#lost();
    };
    for (const kind of ['video', 'audio']) connection.addTransceiver(kind, { direction: 'recvonly' });
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    const url = `${this.#base}/whep/${encodeURIComponent(room)}`;
    const response = await post(url, watch.bearer, connection.localDescription.sdp);
    const location = response.headers.get('Location');
    watch.location = location && new URL(location, response.url).href;
    const sdp = await response.text();
    if (watch !== this.#watch) return leave(watch);
    await connection.setRemoteDescription({ type: 'answer', sdp });
    this.#video.srcObject = stream;
    watch.timer = setTimeout(() => this.#fail('offline'), PICTURE_MS);
  }

  get #base() {
    return (this.getAttribute('base-url') || location.origin).replace(/\/+$/, '');
  }

  /** A picture that was there is worth some tries without being asked. */
  #lost() {
    if (this.#tries >= RETRIES_MS.length) return this.#fail('offline');
    const pause = RETRIES_MS[this.#tries];
    this.#tries += 1;
    this.#stop();
    this.#show('loading', 'retrying');
    this.#watch = { connection: null, location: null, bearer: null, timer: setTimeout(() => this.#start(), pause) };
  }

  #fail(reason) {
    this.#stop();
    this.#show('error', reason);
  }

  #stop() {
    const watch = this.#watch;
    this.#watch = null;
    if (watch) leave(watch);
    this.#video.srcObject = null;
  }

  #show(state, reason) {
    this.#state = state;
    this.#reason = reason;
    this.dataset.state = state;
    this.#render();
  }

  #wire() {
    const one = (selector) => this.#root.querySelector(selector);
    this.#video.addEventListener('playing', () => {
      if (!this.#watch) return;
      clearTimeout(this.#watch.timer);
      this.#tries = 0;
      this.#show('live', '');
    });
    one('.retry').addEventListener('click', () => {
      this.retry();
      one('.quality').focus(); // the button that had the focus is gone
    });
    one('.sound').addEventListener('click', () => {
      this.#video.muted = !this.#video.muted;
      this.#render();
    });
    one('.quality').addEventListener('click', () => this.#menu(one('.menu').hidden));
    one('.menu').addEventListener('keydown', (event) => this.#key(event));
    one('.menu').addEventListener('focusout', ({ relatedTarget }) => {
      if (!one('.menu').contains(relatedTarget) && relatedTarget !== one('.quality')) this.#menu(false, false);
    });
  }

  #menu(open, refocus = true) {
    const menu = this.#root.querySelector('.menu');
    const opener = this.#root.querySelector('.quality');
    if (menu.hidden === !open) return;
    menu.hidden = !open;
    opener.setAttribute('aria-expanded', String(open));
    if (open) menu.children[this.#quality].focus();
    else if (refocus) opener.focus();
  }

  #key(event) {
    const items = [...this.#root.querySelector('.menu').children];
    const at = items.indexOf(this.#root.activeElement);
    const to = { ArrowDown: (at + 1) % items.length, ArrowUp: (at + items.length - 1) % items.length, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) items[to].focus();
    else if (event.key === 'Escape') this.#menu(false);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #pick(index) {
    this.#quality = index;
    this.#menu(false);
    this.#render();
    this.dispatchEvent(new CustomEvent('changeQuality', { detail: { index }, bubbles: true, composed: true }));
  }

  #render() {
    const words = WORDS[this.lang ? (this.lang.startsWith('zh') ? 'zh' : 'en') : language()];
    const one = (selector) => this.#root.querySelector(selector);
    const name = this.getAttribute('device-name') || this.getAttribute('sn') || '';
    const names = this.videoQualityList;
    one('.name').textContent = name;
    this.#video.setAttribute('aria-label', words.picture.replace('{name}', name));
    one('.status').hidden = this.#state === 'live';
    one('.spinner').hidden = this.#state !== 'loading';
    one('.text').textContent = words[this.#reason] ?? '';
    one('.retry').hidden = this.#state !== 'error';
    one('.retry').textContent = words.retry;
    one('.sound').textContent = words.sound;
    one('.sound').setAttribute('aria-pressed', String(!this.#video.muted));
    one('.quality').textContent = names[this.#quality];
    one('.quality').setAttribute('aria-label', `${words.quality}: ${names[this.#quality]}`);
    one('.menu').setAttribute('aria-label', words.quality);
    // Only when it changed: the focus may be on an entry.
    const menu = JSON.stringify([names, this.#quality]);
    if (menu === this.#menuShown) return;
    this.#menuShown = menu;
    one('.menu').replaceChildren(...names.map((text, index) => this.#item(text, index)));
  }

  #item(text, index) {
    const item = document.createElement('button');
    item.type = 'button';
    item.setAttribute('role', 'menuitemradio');
    item.setAttribute('aria-checked', String(index === this.#quality));
    item.tabIndex = -1;
    item.textContent = text;
    item.addEventListener('click', () => this.#pick(index));
    return item;
  }
}

/** Why there is no picture; `reason` is one of the words. */
class Fault extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

async function post(url, bearer, body) {
  let response;
  try {
    response = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${bearer}` }, body });
  } catch {
    throw new Fault('network');
  }
  if (response.ok) return response;
  throw new Fault({ 401: 'refused', 403: 'refused', 404: 'offline' }[response.status] ?? 'failed');
}

/** Ends a try; the node is told, so that the player's place is free at once. */
function leave({ connection, location: url, bearer, timer }) {
  clearTimeout(timer);
  connection?.close();
  if (url) fetch(url, { method: 'DELETE', headers: { Authorization: `Bearer ${bearer}` }, keepalive: true }).catch(() => {});
}

function gathered(connection) {
  return new Promise((done) => {
    const check = () => connection.iceGatheringState === 'complete' && done();
    connection.addEventListener('icegatheringstatechange', check);
    setTimeout(done, GATHERING_MS); // the relay needs none of our candidates
    check();
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return [];
  }
}

customElements.define('camera-device', CameraDevice);
