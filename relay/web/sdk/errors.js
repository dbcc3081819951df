/**
 * Errors: the plugin's error classes and how an answer of the node becomes one.
 *
 * Codes below 1000 come from the backend, 1000-1999 from the plugin, 2000-2199 from joining, 10000 and above from grants.
 * Additions of ours: each error also has `httpStatus` (0 when no answer came) and `retryAfter` (s, null when not told).
 */

export class VoipError extends Error {
  constructor(errMsg, errCode, { cause, httpStatus = 0, retryAfter = null } = {}) {
    super(errMsg, { cause });
    this.name = new.target.name;
    this.errMsg = errMsg;
    this.errCode = errCode;
    this.errno = errCode;
    this.httpStatus = httpStatus;
    this.retryAfter = retryAfter;
  }
}

/** The backend refused. */
export class VoipCgiError extends VoipError {}

/** Joining the room failed; `errType` says in which step. */
export class VoipJoinError extends VoipError {
  constructor(errMsg, errCode, { extErrMsg = '', errType = 0, ...rest } = {}) {
    super(errMsg, errCode, rest);
    this.extErrMsg = extErrMsg;
    this.errType = errType;
  }
}

/** Everything else: wrong parameters, no connection, a second call. */
export class VoipPluginError extends VoipError {}

export const CODE = Object.freeze({
  DEVICE_TOKEN_FAILED: 1000,
  TOKEN_MISSING: 1001,
  REQUEST_FAILED: 1002,
  ANSWER_UNREADABLE: 1003,
  WRONG_PARAMETER: 1004,
  BUSY: 1005,
  ONLY_ON_DEVICE: 1006,
  ONLY_IN_CLIENT: 1007,
  INTERRUPTED: 1008,
  UNSUPPORTED: 1011,
  JOIN_FAILED: 2000,
  MEDIA_INIT_FAILED: 2003,
  MEDIA_JOIN_FAILED: 2004,
  DEVICE_FAILED: 2007,
  NO_PERMISSION: 2102,
  GRANT_REFUSED: 10021,
});

/** The error a non-2xx answer stands for; `body` is the parsed JSON, or null when it had none. */
export function refusal(httpStatus, body, retryAfterText = null) {
  const errCode = Number.isInteger(body?.errCode) ? body.errCode : CODE.ANSWER_UNREADABLE;
  const errMsg = typeof body?.errMsg === 'string' ? body.errMsg : `unexpected answer, HTTP ${httpStatus}`;
  const seconds = Number.parseFloat(retryAfterText);
  const more = { httpStatus, retryAfter: Number.isFinite(seconds) ? seconds : null };
  if (errCode >= 1000 && errCode < 2000) return new VoipPluginError(errMsg, errCode, more);
  if (errCode >= 2000 && errCode < 2200) return new VoipJoinError(errMsg, errCode, more);
  return new VoipCgiError(errMsg, errCode, more);
}

/** A wrong parameter, in the words "name: what is wrong". */
export function wrongParameter(errMsg) {
  return new VoipPluginError(errMsg, CODE.WRONG_PARAMETER);
}

/** The shape in which `initByCaller` resolves when it was refused. */
export function refusedResult(error) {
  return {
    isSuccess: false,
    errCode: error.errCode,
    errMsg: error.errMsg,
    errObj: error,
    error: { err_code: String(error.errCode), errMsg: error.errMsg },
  };
}
