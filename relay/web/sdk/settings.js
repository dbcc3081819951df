/**
 * Settings: what setUIConfig, setCustomBtnText and setVoipEndPagePath were given, checked and with the known defaults.
 */
import { wrongParameter } from './errors.js';

const PICTURE = Object.freeze({
  cameraRotation: 0,
  aspectRatio: 4 / 3,
  horMirror: false,
  vertMirror: false,
  enableToggleCamera: true,
  objectFit: 'fill',
});

const PICTURE_RULES = {
  cameraRotation: (v) => [0, 90, 180, 270].includes(v) || 'must be 0, 90, 180 or 270',
  aspectRatio: (v) => (Number.isFinite(v) && v > 0) || 'must be a number above 0',
  horMirror: isBoolean,
  vertMirror: isBoolean,
  enableToggleCamera: isBoolean,
  objectFit: (v) => ['fill', 'contain'].includes(v) || "must be 'fill' or 'contain'",
};

const CONFIG_RULES = {
  btnText: isText,
  handsFree: isBoolean,
  isSelfWindowMax: isBoolean,
  customBoxHeight: (v) => (typeof v === 'string' && /^([1-9]\d?|100)vh$/.test(v)) || "must be like '90vh'",
};

const END_PAGE_RULES = {
  url: (v) => (typeof v === 'string' && v !== '') || 'must be the path of a page',
  key: (v) => ['Call', 'BindContact'].includes(v) || "must be 'Call' or 'BindContact'",
  options: isText,
  routeType: (v) => ['redirectTo', 'switchTab', 'reLaunch'].includes(v) || "must be 'redirectTo', 'switchTab' or 'reLaunch'",
};

export class Settings {
  ui = {
    btnText: '',
    callerUI: { ...PICTURE },
    listenerUI: { ...PICTURE },
    handsFree: true,
    isSelfWindowMax: false,
    customBoxHeight: '90vh',
  };

  endPages = {};

  /** Values that are not given keep what was set before. Throws 1004 and changes nothing when one is wrong. */
  configure(config) {
    object(config, 'config');
    const { callerUI, listenerUI, ...rest } = config;
    const next = { ...this.ui, ...checked(rest, CONFIG_RULES, '') };
    for (const [name, picture] of Object.entries({ callerUI, listenerUI })) {
      if (picture === undefined) continue;
      object(picture, name);
      next[name] = { ...this.ui[name], ...checked(picture, PICTURE_RULES, `${name}.`) };
    }
    this.ui = next;
  }

  setButton(text) {
    if (isText(text) !== true) throw wrongParameter(`text: ${isText(text)}`);
    this.ui = { ...this.ui, btnText: text };
  }

  setEndPage(opts) {
    object(opts, 'opts');
    const page = checked({ url: undefined, key: undefined, ...opts }, END_PAGE_RULES, '', true);
    this.endPages[page.key] = { options: '', routeType: 'redirectTo', ...page };
  }

  /** The address after a call, `url?options`, or null when none was set. */
  endAddress(key = 'Call') {
    const page = this.endPages[key];
    if (!page) return null;
    return page.options ? `${page.url}?${page.options}` : page.url;
  }
}

function checked(values, rules, prefix, all = false) {
  const out = {};
  for (const [name, value] of Object.entries(values)) {
    if (!(name in rules)) continue; // a later plugin's field; ignored, as the plugin does
    if (value === undefined && !all) continue;
    const verdict = rules[name](value);
    if (verdict !== true) throw wrongParameter(`${prefix}${name}: ${verdict}`);
    out[name] = value;
  }
  return out;
}

function object(value, name) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw wrongParameter(`${name}: must be an object`);
}

function isBoolean(value) {
  return typeof value === 'boolean' || 'must be true or false';
}

function isText(value) {
  return typeof value === 'string' || 'must be a text';
}
