/**
 * Errors: the plugin's error classes and how an answer of the node becomes one.
 *
 * Codes below 1000 come from the backend, 1000-1999 from the plugin, 2000-2199 from joining.
 * Each error also has `httpStatus` (0 when no answer came), an addition of ours.
 */

export class VoipError extends Error {
  constructor(errMsg, errCode, { cause, httpStatus = 0 } = {}) {
    super(errMsg, { cause });
    this.name = new.target.name;
    this.errMsg = errMsg;
    this.errCode = errCode;
    this.errno = errCode;
    this.httpStatus = httpStatus;
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
  REQUEST_FAILED: 1002,
  ANSWER_UNREADABLE: 1003,
  WRONG_PARAMETER: 1004,
  BUSY: 1005,
  INTERRUPTED: 1008,
  UNSUPPORTED: 1011,
  JOIN_FAILED: 2000,
  MEDIA_INIT_FAILED: 2003,
  MEDIA_JOIN_FAILED: 2004,
  DEVICE_FAILED: 2007,
  NO_PERMISSION: 2102,
});

/** The error a non-2xx answer stands for; `body` is the parsed JSON, or null when it had none. */
export function refusal(httpStatus, body) {
  const errCode = Number.isInteger(body?.errCode) ? body.errCode : CODE.ANSWER_UNREADABLE;
  const errMsg = typeof body?.errMsg === 'string' ? body.errMsg : `unexpected answer, HTTP ${httpStatus}`;
  if (errCode < 1000) return new VoipCgiError(errMsg, errCode, { httpStatus });
  if (errCode >= 2000 && errCode < 2200) return new VoipJoinError(errMsg, errCode, { httpStatus });
  return new VoipPluginError(errMsg, errCode, { httpStatus });
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
