/**
 * Request: the parameters of the three calling methods, checked and turned into the body of POST /v1/calls.
 * They throw a VoipPluginError 1004 that names the wrong field; nothing was sent then. Tokens are looked at later, by
 * `checkToken`, since the plugin says first that the wrong side calls (1006, 1007) or that a call is on (1005).
 */
import { CODE, VoipPluginError, wrongParameter } from './errors.js';

const BUSINESS_DEVICE_TO_USER = 1;
const BUSINESS_USER_TO_DEVICE = 2;
const LISTENERS_MAX = 16;

/** initByCaller: modes 1 (device to user) and 2 (user to device); the campus modes 0 and 3 are refused with 1011. */
export function fromInitByCaller(req) {
  object(req, 'req');
  const businessType = req.businessType ?? 0;
  if (![0, 1, 2, 3].includes(businessType)) throw wrongParameter('businessType: must be 1 or 2');
  const body = {
    direction: businessType === BUSINESS_USER_TO_DEVICE ? 'user_to_device' : 'device_to_user',
    businessType,
    roomType: roomType(req),
    caller: party(req.caller, 'caller'),
    ...called(req),
    ...common(req),
    ...oneOf(req, 'miniprogramState', ['formal', 'trial', 'developer']),
  };
  if (req.voipToken !== undefined && req.voipToken !== null) body.voipToken = req.voipToken;
  if (businessType !== BUSINESS_DEVICE_TO_USER && businessType !== BUSINESS_USER_TO_DEVICE) {
    throw new VoipPluginError(`businessType ${businessType} is not offered`, CODE.UNSUPPORTED);
  }
  return body;
}

/** The one `listener`, or, an addition, several `listeners` with a `strategy`. */
function called(req) {
  if (req.listeners === undefined) return { listener: party(req.listener, 'listener') };
  if (!Array.isArray(req.listeners) || req.listeners.length < 1 || req.listeners.length > LISTENERS_MAX) {
    throw wrongParameter(`listeners: must be a list of 1 to ${LISTENERS_MAX}`);
  }
  const listeners = req.listeners.map((value, at) => ({ ...party(value, `listeners[${at}]`), ...ringTimeout(value, `listeners[${at}].`) }));
  return { listeners, ...oneOf(req, 'strategy', ['sequential', 'simultaneous']) };
}

/** Throws 1001 when the device's token is missing where one is needed (mode 2, callWMPF), empty, or no text. */
export function checkToken({ businessType, target, voipToken }) {
  const needed = target === 'wmpf' || (businessType === BUSINESS_USER_TO_DEVICE && target === undefined);
  if (voipToken === undefined && !needed) return;
  if (typeof voipToken === 'string' && voipToken !== '') return;
  const name = target === 'wmpf' ? 'pushToken' : 'voipToken';
  throw new VoipPluginError(`${name}: must be a text that is not empty`, CODE.TOKEN_MISSING);
}

/** callWMPF; `self` is the calling party {id, name}. */
export function fromCallWMPF(req, self) {
  const body = toDevice(req, self, 'wmpf');
  required(req, 'nickName');
  return {
    ...body,
    voipToken: req.pushToken ?? '',
    ...oneOf(req, 'envVersion', ['release', 'trial', 'develop']),
  };
}

/** callDevice; `self` is the calling party {id, name}. */
export function fromCallDevice(req, self) {
  const body = toDevice(req, self, 'device');
  const encode = {
    ...oneOf(req, 'encodeVideoFixedLength', [0, 320, 480, 640]),
    ...oneOf(req, 'encodeVideoRotation', [0, 1, 2]),
  };
  for (const [name, low, high] of [
    ['encodeVideoRatio', 10, 1000],
    ['encodeVideoMaxFPS', 8, 15],
  ]) {
    const value = req[name];
    if (value === undefined || value === 0) continue;
    if (!Number.isInteger(value) || value < low || value > high) {
      throw wrongParameter(`${name}: must be a whole number from ${low} to ${high}`);
    }
    encode[name] = value;
  }
  return { ...body, ...encode, ...texts(req, ['payload']), ...booleans(req, ['isCloud']) };
}

function toDevice(req, self, target) {
  object(req, 'req');
  required(req, 'sn');
  required(req, 'modelId');
  booleans(req, ['enableCallerCamera', 'enableListenerCamera']);
  texts(req, ['nickName', 'deviceName']);
  return {
    direction: 'user_to_device',
    businessType: BUSINESS_USER_TO_DEVICE,
    target,
    roomType: roomType(req),
    modelId: req.modelId,
    caller: { id: self.id, name: req.nickName ?? self.name ?? '', cameraStatus: req.enableCallerCamera === false ? 1 : 0 },
    listener: { id: req.sn, name: req.deviceName ?? '', cameraStatus: req.enableListenerCamera === false ? 1 : 0 },
    ...oneOf(req, 'chargeType', ['license', 'duration']),
    ...common(req),
  };
}

function common(req) {
  const out = { ...texts(req, ['customQuery']) };
  if (req.timeLimit !== undefined) {
    if (!Number.isFinite(req.timeLimit) || req.timeLimit <= 0) throw wrongParameter('timeLimit: must be seconds above 0');
    out.timeLimit = req.timeLimit;
  }
  return { ...out, ...ringTimeout(req, '') };
}

function ringTimeout({ ringTimeout: seconds }, prefix) {
  if (seconds === undefined) return {};
  if (!Number.isFinite(seconds) || seconds < 5 || seconds > 300) {
    throw wrongParameter(`${prefix}ringTimeout: must be 5 to 300 seconds`);
  }
  return { ringTimeout: seconds };
}

function roomType(req) {
  if (req.roomType !== 'voice' && req.roomType !== 'video') throw wrongParameter("roomType: must be 'voice' or 'video'");
  return req.roomType;
}

function party(value, name) {
  object(value, name);
  if (typeof value.id !== 'string' || value.id === '') throw wrongParameter(`${name}.id: must be a text that is not empty`);
  if (value.name !== undefined && typeof value.name !== 'string') throw wrongParameter(`${name}.name: must be a text`);
  const cameraStatus = value.cameraStatus ?? 0;
  if (cameraStatus !== 0 && cameraStatus !== 1) throw wrongParameter(`${name}.cameraStatus: must be 0 (on) or 1 (off)`);
  return { id: value.id, name: value.name ?? '', cameraStatus };
}

function object(value, name) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw wrongParameter(`${name}: must be an object`);
}

function required(req, name) {
  if (typeof req[name] !== 'string' || req[name] === '') throw wrongParameter(`${name}: must be a text that is not empty`);
}

function texts(req, names) {
  const out = {};
  for (const name of names) {
    if (req[name] === undefined || req[name] === null) continue;
    if (typeof req[name] !== 'string') throw wrongParameter(`${name}: must be a text`);
    out[name] = req[name];
  }
  return out;
}

function booleans(req, names) {
  const out = {};
  for (const name of names) {
    if (req[name] === undefined) continue;
    if (typeof req[name] !== 'boolean') throw wrongParameter(`${name}: must be true or false`);
    out[name] = req[name];
  }
  return out;
}

function oneOf(req, name, allowed) {
  if (req[name] === undefined) return {};
  if (!allowed.includes(req[name])) throw wrongParameter(`${name}: must be one of ${allowed.join(', ')}`);
  return { [name]: req[name] };
}
