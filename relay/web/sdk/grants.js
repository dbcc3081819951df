/**
 * Grants: which devices may call this user. requestDeviceVoIP and getDeviceVoIPList have the shapes of `wx.*`:
 * success, fail and complete are called, and a Promise is returned as well.
 */
import { CODE, VoipCgiError, VoipError, VoipPluginError, wrongParameter } from './errors.js';
import { ownDialog, question } from './dialog.js';
import { report } from './runtime.js';

const SN = /^[A-Za-z0-9_-]{1,128}$/;
const DEVICE_NAME_MAX = 13; // characters

export class Grants {
  #party;

  /** `party()` gives {backend, confirm}, or throws when nobody is connected. */
  constructor(party) {
    this.#party = party;
  }

  /**
   * Asks the user: first the node whether it may be asked, then the person, then the node is told. `opts.confirm` shows
   * the question in place of the built-in dialog; it resolves to true, false, or null when nothing was decided.
   */
  request(opts) {
    return withCallbacks('requestDeviceVoIP', opts, async () => {
      const body = grantBody(opts);
      const { backend, confirm } = this.#party();
      if (backend.kind === 'device') throw new VoipPluginError('only a user can be asked', CODE.ONLY_IN_CLIENT);
      const ask = opts.confirm ?? confirm ?? ownDialog();
      if (!ask) throw new VoipPluginError('this runtime has no dialog; give `confirm`', CODE.UNSUPPORTED);
      const { name } = await backend.json('POST', '/v1/grants', { body: { ...body, decision: 'ask' } });
      const agreed = await ask(question({ name: name || body.deviceName || body.groupId, isGroup: body.isGroup === true }));
      if (agreed !== true && agreed !== false) throw new VoipPluginError('the question was put off', CODE.INTERRUPTED);
      const given = await backend.json('POST', '/v1/grants', { body: { ...body, decision: agreed ? 'agree' : 'refuse' } });
      if (!agreed) throw new VoipCgiError('the user refused', CODE.GRANT_REFUSED);
      return given;
    });
  }

  /** What this user decided so far: {list}. */
  list(opts = {}) {
    return withCallbacks('getDeviceVoIPList', opts, async () => {
      const { list } = await this.#party().backend.json('GET', '/v1/grants');
      return { list };
    });
  }

  /** Lets the question be shown again after a refusal; `target` is a grant id, or {grantId}, {sn} or {groupId}. */
  async reopen(target) {
    const { backend } = this.#party();
    const grantId = typeof target === 'string' && target !== '' ? target : (target?.grantId ?? (await this.#find(target)));
    return backend.json('POST', `/v1/grants/${encodeURIComponent(grantId)}/reopen`, { body: {} });
  }

  async #find(target) {
    if (typeof target?.sn !== 'string' && typeof target?.groupId !== 'string') {
      throw wrongParameter('target: must be a grant id, or an object with grantId, sn or groupId');
    }
    const { list } = await this.#party().backend.json('GET', '/v1/grants');
    const fits = (entry) => (target.groupId ? entry.group_id === target.groupId : entry.sn === target.sn);
    const found = list.find(fits);
    if (!found) throw new VoipCgiError('this user was never asked about it', 9);
    return found.grant_id;
  }
}

/** getIotBindContactList: which of these users authorised the device. */
export async function contactStatus(backend, req) {
  if (req === null || typeof req !== 'object') throw wrongParameter('req: must be an object');
  const { sn, model_id: model, openid_list: openids } = req;
  if (typeof sn !== 'string' || !SN.test(sn)) throw wrongParameter('sn: must be a serial number');
  if (typeof model !== 'string' || model === '') throw wrongParameter('model_id: must be a text that is not empty');
  if (!Array.isArray(openids) || openids.some((id) => typeof id !== 'string' || id === '')) {
    throw wrongParameter('openid_list: must be a list of texts');
  }
  const body = { model_id: model, openid_list: openids };
  return backend.json('POST', `/v1/devices/${encodeURIComponent(sn)}/contacts/status`, { body });
}

function grantBody(opts) {
  if (opts === null || typeof opts !== 'object') throw wrongParameter('opts: must be an object');
  const { isGroup, groupId, sn, snTicket, modelId, deviceName } = opts;
  if (opts.confirm !== undefined && typeof opts.confirm !== 'function') throw wrongParameter('confirm: must be a function');
  if (isGroup === true) {
    if (typeof groupId !== 'string' || groupId === '') throw wrongParameter('groupId: must be a text that is not empty');
    return { isGroup, groupId };
  }
  if (typeof sn !== 'string' || !SN.test(sn)) throw wrongParameter('sn: must be 1 to 128 letters, digits, _ or -');
  for (const [name, value] of Object.entries({ snTicket, modelId })) {
    if (typeof value !== 'string' || value === '') throw wrongParameter(`${name}: must be a text that is not empty`);
  }
  if (typeof deviceName !== 'string' || deviceName === '' || [...deviceName].length > DEVICE_NAME_MAX) {
    throw wrongParameter(`deviceName: must be 1 to ${DEVICE_NAME_MAX} characters`);
  }
  return { sn, snTicket, modelId, deviceName };
}

/** Runs `act` in the shape of a wx method: errMsg in every result, the three call-backs, and a Promise. */
function withCallbacks(name, opts, act) {
  const { success, fail, complete } = opts ?? {};
  const promise = act().then(
    (result) => ({ ...result, errMsg: `${name}:ok` }),
    (error) => {
      if (error instanceof VoipError) error.errMsg = `${name}:fail ${error.errMsg}`;
      throw error;
    },
  );
  if (success || fail || complete) {
    const tell = (result, outcome) => {
      for (const listener of [outcome, complete]) {
        try {
          listener?.(result);
        } catch (error) {
          report(error);
        }
      }
    };
    // Who uses call-backs may leave the Promise alone: handled here, its failure does not count as unhandled.
    promise.then(
      (result) => tell(result, success),
      (error) => tell(error, fail),
    );
  }
  return promise;
}
