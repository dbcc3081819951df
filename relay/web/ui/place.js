/** Place: how each kind of page calls somebody: a user a device, a device a user. Both throw a VoipError when it was refused. */
import voip from '../sdk/wmpf-voip.js';

/** A function of {peer, video} for the account's kind. */
export function placeFor(account) {
  return account.kind === 'device' ? (call) => toUser(account, call) : (call) => toDevice(account, call);
}

function toDevice(account, { peer, video }) {
  return voip.callDevice({ roomType: video ? 'video' : 'voice', sn: peer, modelId: account.model, nickName: account.name });
}

async function toUser(account, { peer, video }) {
  const result = await voip.initByCaller({
    businessType: 1,
    roomType: video ? 'video' : 'voice',
    caller: { id: account.id, name: account.name },
    listener: { id: peer },
  });
  if (!result.isSuccess) throw result.errObj;
}
