/**
 * Capture: microphone and camera of this page.
 *
 * A call without a camera is still worth having, one in which nobody hears us is not: a camera that fails becomes a
 * notice, a microphone that is refused an error. A machine that has no microphone at all may still listen.
 */
import { CODE, VoipJoinError } from './errors.js';

const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const VIDEO = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 24, max: 30 } };

/**
 * Opens what a call of this kind needs. Resolves to {stream, notices}, where notices may hold 'no-microphone',
 * 'no-camera', 'camera-refused', 'camera-in-use'. Throws a VoipJoinError 2102 (refused) or 2007 (device failed).
 */
export async function capture({ camera, facingMode = 'user' }) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new VoipJoinError('microphone and camera need an https or localhost page', CODE.NO_PERMISSION, { extErrMsg: 'insecure-page' });
  }
  const stream = new MediaStream();
  const notices = [];
  const add = (got) => got.getTracks().forEach((track) => stream.addTrack(track));
  if (camera) {
    try {
      // One question for both permissions where the browser allows it.
      add(await navigator.mediaDevices.getUserMedia({ audio: AUDIO, video: { ...VIDEO, facingMode } }));
      return { stream, notices };
    } catch {
      // Which of the two it was, the single requests below tell.
    }
  }
  try {
    add(await navigator.mediaDevices.getUserMedia({ audio: AUDIO }));
  } catch (cause) {
    if (cause.name !== 'NotFoundError') throw captureError(cause, 'microphone');
    notices.push('no-microphone');
  }
  if (camera) {
    try {
      add(await openCamera(facingMode));
    } catch (error) {
      notices.push(error.extErrMsg);
    }
  }
  return { stream, notices };
}

/** Opens the camera alone; throws a VoipJoinError whose extErrMsg is one of the camera notices of `capture`. */
export async function openCamera(facingMode = 'user') {
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { ...VIDEO, facingMode } });
  } catch (cause) {
    throw captureError(cause, 'camera');
  }
}

/** Whether the browser will answer without asking a person, who may take longer than the join timer. */
export async function permitted({ camera }) {
  try {
    const names = camera ? ['microphone', 'camera'] : ['microphone'];
    const states = await Promise.all(names.map((name) => navigator.permissions.query({ name })));
    return states.every(({ state }) => state === 'granted');
  } catch {
    return false;
  }
}

function captureError(cause, what) {
  const refused = cause.name === 'NotAllowedError' || cause.name === 'SecurityError';
  const missing = cause.name === 'NotFoundError' || cause.name === 'OverconstrainedError';
  const extErrMsg = refused ? `${what}-refused` : missing ? `no-${what}` : `${what}-in-use`;
  const errCode = refused ? CODE.NO_PERMISSION : CODE.DEVICE_FAILED;
  return new VoipJoinError(`${what}: ${cause.message || cause.name}`, errCode, { cause, extErrMsg });
}
