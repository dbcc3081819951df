/**
 * Request: the parameters of the three calling methods, checked and turned into the body of POST /v1/calls.
 * Every function throws a VoipPluginError 1004 that names the wrong field; nothing was sent then.
 */
import { CODE, VoipPluginError, wrongParameter } from './errors.js';

const BUSINESS_DEVICE_TO_USER = 1;
const BUSINESS_USER_TO_DEVICE = 2;

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
    listener: party(req.listener, 'listener'),
    ...common(req),
    ...texts(req, ['voipToken']),
    ...oneOf(req, 'miniprogramState', ['formal', 'trial', 'developer']),
  };
  if (businessType !== BUSINESS_DEVICE_TO_USER && businessType !== BUSINESS_USER_TO_DEVICE) {
    throw new VoipPluginError(`businessType ${businessType} is not offered`, CODE.UNSUPPORTED);
  }
  return body;
}

/** callWMPF; `self` is the calling party {id, name}. */
export function fromCallWMPF(req, self) {
  const body = toDevice(req, self, 'wmpf');
  required(req, 'pushToken');
  required(req, 'nickName');
  return {
    ...body,
    voipToken: req.pushToken,
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
    ['encodeVideoRatio', 0, 1000],
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
  if (req.ringTimeout !== undefined) {
    if (!Number.isFinite(req.ringTimeout) || req.ringTimeout < 5 || req.ringTimeout > 300) {
      throw wrongParameter('ringTimeout: must be 5 to 300 seconds');
    }
    out.ringTimeout = req.ringTimeout;
  }
  return out;
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
