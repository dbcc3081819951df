/**
 * Settings: what setUIConfig, setCustomBtnText and setVoipEndPagePath were given, checked and with the known defaults.
 */
import { wrongParameter } from './errors.js';

/**
 * The picture of one role when nobody set anything. `null` leaves the choice to the call page, which knows more than a
 * fixed default does: the plugin's 4/3 is the ratio the frames have anyway, its 'fill' is kept unless a lying picture
 * would lose most of itself on a standing screen, and one's own picture is shown as in a mirror.
 */
const PICTURE = Object.freeze({
  cameraRotation: 0,
  aspectRatio: null,
  horMirror: null,
  vertMirror: false,
  enableToggleCamera: true,
  objectFit: null,
});

const PICTURE_RULES = {
  cameraRotation: (v) => [0, 90, 180, 270].includes(v) || 'must be 0, 90, 180 or 270',
  aspectRatio: (v) => (Number.isFinite(v) && v > 0) || 'must be a number above 0',
  horMirror: isBoolean,
  vertMirror: isBoolean,
  enableToggleCamera: isBoolean,
  objectFit: (v) => ['fill', 'contain'].includes(v) || "must be 'fill' or 'contain'",
};

const CONFIG = Object.freeze({ btnText: '', handsFree: true, isSelfWindowMax: false, customBoxHeight: '90vh' });

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
  #config = CONFIG;
  #pictures = { callerUI: {}, listenerUI: {} };
  #endPages = {};

  /** Values that are not given keep what was set before. Throws 1004 and changes nothing when one is wrong. */
  configure(config) {
    object(config, 'config');
    const { callerUI, listenerUI, ...rest } = config;
    const next = checked(rest, CONFIG_RULES, '');
    const pictures = { ...this.#pictures };
    for (const [name, picture] of Object.entries({ callerUI, listenerUI })) {
      if (picture === undefined) continue;
      object(picture, name);
      pictures[name] = { ...pictures[name], ...checked(picture, PICTURE_RULES, `${name}.`) };
    }
    this.#config = { ...this.#config, ...next };
    this.#pictures = pictures;
  }

  setButton(text) {
    if (isText(text) !== true) throw wrongParameter(`text: ${isText(text)}`);
    this.#config = { ...this.#config, btnText: text };
  }

  setEndPage(opts) {
    object(opts, 'opts');
    for (const name of ['url', 'key']) {
      const verdict = END_PAGE_RULES[name](opts[name]); // these two must be there
      if (verdict !== true) throw wrongParameter(`${name}: ${verdict}`);
    }
    const page = checked(opts, END_PAGE_RULES, '');
    this.#endPages[page.key] = { options: '', routeType: 'redirectTo', ...page };
  }

  /** Everything a call page needs; the stored profiles of the two devices (null: none) give way to what was set here. */
  ui(callerProfile = null, listenerProfile = null) {
    return {
      ...this.#config,
      callerUI: { ...PICTURE, ...stored(callerProfile), ...this.#pictures.callerUI },
      listenerUI: { ...PICTURE, ...stored(listenerProfile), ...this.#pictures.listenerUI },
    };
  }

  /** {url, key, options, routeType, address}, the address being `url?options`; null when none was set. */
  endPage(key = 'Call') {
    const page = this.#endPages[key];
    return page ? { ...page, address: page.options ? `${page.url}?${page.options}` : page.url } : null;
  }
}

/** What of a stored profile can be used; a field this version does not understand is left out. */
function stored(profile) {
  const known = Object.entries(profile ?? {}).filter(([name, value]) => PICTURE_RULES[name]?.(value) === true);
  return Object.fromEntries(known);
}

function checked(values, rules, prefix) {
  const out = {};
  for (const [name, value] of Object.entries(values)) {
    if (!(name in rules) || value === undefined) continue; // a later plugin's field is ignored, as the plugin does
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
