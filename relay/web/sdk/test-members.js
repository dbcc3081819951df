/** The part of the test page that needs no call: every member, its shape, and its errors. */
import voip, * as sdk from './wmpf-voip.js';

const METHODS = {
  'Plugin methods': [
    'initByCaller',
    'callWMPF',
    'callDevice',
    'forceHangUpVoip',
    'onVoipEvent',
    'setCustomBtnText',
    'setVoipEndPagePath',
    'setUIConfig',
    'getIotBindContactList',
    'getPluginEnterOptions',
    'getPluginOnloadOptions',
  ],
  'Methods of wx': ['requestDeviceVoIP', 'getDeviceVoIPList'],
  Additions: [
    'connect',
    'close',
    'answer',
    'reject',
    'hangUp',
    'join',
    'reopenGrant',
    'setMuted',
    'setCameraOff',
    'setCustomBox',
    'leaveCallPage',
    'stats',
    'state',
    'onState',
  ],
};
const FACE_PAY = ['bindVoipAdminContact', 'getBindContactPath', 'getVoipBindContactList', 'deleteVoipBindContact', 'transerAdmin'];
const ERRORS = ['VoipError', 'VoipCgiError', 'VoipJoinError', 'VoipPluginError'];
const CALL = { businessType: 1, roomType: 'video', caller: { id: 'a' }, listener: { id: 'b' } };

/** Throws unless the two are the same JSON. */
export function same(got, wanted) {
  const [left, right] = [got, wanted].map((value) => JSON.stringify(value));
  if (left !== right) throw new Error(`${left} instead of ${right}`);
  return left.replaceAll('"', '');
}

/** The error an act throws or rejects with. */
export async function errorOf(act) {
  try {
    await act();
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

async function fails(act, errCode, Class = sdk.VoipPluginError) {
  const error = await errorOf(act);
  if (!(error instanceof Class) || !(error instanceof sdk.VoipError)) throw new Error(`${error} is no ${Class.name}`);
  if (error.errCode !== errCode || error.errno !== errCode) throw new Error(`errCode ${error.errCode} instead of ${errCode}`);
  return `${error.name} ${errCode}: ${error.errMsg}`;
}

export async function testMembers(check) {
  const paths = () => same([voip.CALL_PAGE_PATH, sdk.CALL_PAGE_PATH], ['/call.html', '/call.html']);
  await check('Plugin methods', 'CALL_PAGE_PATH', paths);
  for (const [group, names] of Object.entries(METHODS)) {
    for (const name of names) {
      await check(group, name, () => same(typeof voip[name], 'function'));
    }
  }
  for (const name of FACE_PAY) await check('Face-pay methods: present, not offered', name, () => fails(() => voip[name]({}), 1011));

  for (const name of ERRORS) {
    await check('Error classes', name, () => {
      const error = new sdk[name]('text', 7);
      const { errMsg, errCode, errno } = error;
      if (!(error instanceof sdk.VoipError && error instanceof Error)) throw new Error('is no VoipError');
      return same({ name: error.name, errMsg, errCode, errno }, { name, errMsg: 'text', errCode: 7, errno: 7 });
    });
  }
  await check('Error classes', 'VoipJoinError has extErrMsg and errType', () => {
    const { extErrMsg, errType } = new sdk.VoipJoinError('text', 2000, { extErrMsg: 'more', errType: 4 });
    return same({ extErrMsg, errType }, { extErrMsg: 'more', errType: 4 });
  });

  const wrong = {
    'initByCaller without roomType': () => voip.initByCaller({ ...CALL, roomType: undefined }),
    'initByCaller without listener': () => voip.initByCaller({ ...CALL, listener: undefined }),
    'initByCaller with timeLimit 0': () => voip.initByCaller({ ...CALL, timeLimit: 0 }),
    'initByCaller with 17 listeners': () => voip.initByCaller({ ...CALL, listeners: Array(17).fill({ id: 'x' }) }),
    'callWMPF without nickName': () => voip.callWMPF({ roomType: 'voice', sn: 'a', modelId: 'm', pushToken: 't' }),
    'callDevice without sn': () => voip.callDevice({ roomType: 'voice', modelId: 'm' }),
    'callDevice at 7 frames a second': () => voip.callDevice({ roomType: 'video', sn: 'a', modelId: 'm', encodeVideoMaxFPS: 7 }),
    'setUIConfig, rotation 45': () => voip.setUIConfig({ callerUI: { cameraRotation: 45 } }),
    'setVoipEndPagePath without url': () => voip.setVoipEndPagePath({ key: 'Call' }),
    'onVoipEvent without a function': () => voip.onVoipEvent(null),
    'requestDeviceVoIP, name too long': () => voip.requestDeviceVoIP({ sn: 'a', snTicket: 't', modelId: 'm', deviceName: 'x'.repeat(14) }),
    'connect without a token': () => voip.connect({}),
  };
  await check('Not connected', 'campus modes resolve with 1011', async () => {
    const { isSuccess, errCode, errObj, error } = await voip.initByCaller({ ...CALL, businessType: 0 });
    return same([isSuccess, errCode, errObj.errCode, error.err_code], [false, 1011, 1011, '1011']);
  });
  await check('Not connected', 'initByCaller resolves with 1002', async () => same((await voip.initByCaller(CALL)).errCode, 1002));
  await check('Not connected', 'getDeviceVoIPList rejects with 1002', () => fails(() => voip.getDeviceVoIPList(), 1002));
  for (const [name, act] of Object.entries(wrong)) {
    await check('Wrong parameters are thrown, 1004', name, () => fails(act, 1004));
  }

  await check('Settings and options', 'settings reach the state, over the defaults', () => {
    const client = sdk.createVoip();
    client.setUIConfig({ callerUI: { cameraRotation: 90 }, btnText: 'a' });
    client.setCustomBtnText('b');
    client.setVoipEndPagePath({ url: '/end', key: 'Call', options: 'a=1' });
    const { ui, endPage } = client.state();
    same(endPage, { options: 'a=1', routeType: 'redirectTo', url: '/end', key: 'Call', address: '/end?a=1' });
    const { btnText, handsFree, isSelfWindowMax, customBoxHeight, callerUI, listenerUI } = ui;
    same([btnText, handsFree, isSelfWindowMax, customBoxHeight], ['b', true, false, '90vh']);
    return same([callerUI.cameraRotation, listenerUI.cameraRotation, listenerUI.enableToggleCamera], [90, 0, true]);
  });
  await check('Settings and options', 'getPluginEnterOptions', () => {
    const { path, query, scene } = voip.getPluginEnterOptions();
    return same([path, typeof query, typeof scene], [location.pathname, 'object', 'number']);
  });
  await check('Settings and options', 'getPluginOnloadOptions', () => same(typeof voip.getPluginOnloadOptions(), 'object'));
  await check('Settings and options', 'onVoipEvent returns an off function', () => same(typeof voip.onVoipEvent(() => {}), 'function'));
}
