/**
 * Verdict: why a call ended or did not begin, in a sentence, with what to do.
 * Each entry is [title, advice] in English and in Chinese; advice may be empty.
 */
import { lang } from './phrases.js';

/** What the node says to the parties of a simultaneous hunt that did not answer first. */
const TAKEN = 'another party took the call';
const EN = 0;
const ZH = 1;

const CODES = {
  2: [['This device is not known', 'Check the device number.'], ['找不到该设备', '请检查设备编号。']],
  5: [['The call could not be set up', 'The node is full or shutting down. Try again in a minute.'], ['无法建立通话', '服务器繁忙或正在关闭，请稍后再试。']],
  7: [['This person is not known', 'Check the number of the person.'], ['找不到该用户', '请检查用户编号。']],
  9: [['The device is not allowed to call you', 'The person must first give the device permission in the mini program.'], ['尚未授权', '请先在小程序中授权该设备呼叫您。']],
  12: [['Calls are not enabled yet', 'This kind of device still waits for its approval.'], ['通话功能尚未开通', '该设备型号仍在等待审核。']],
  13: [['The device is not signed in correctly', 'Reload the page to sign in again.'], ['设备凭证无效', '请刷新页面重新登录。']],
  14: [['The device cannot be woken', 'Its push token is wrong or too old. Restart the device.'], ['无法唤醒设备', '设备推送凭证无效或已过期，请重启设备。']],
  15: [['Calls are suspended', 'The account is in arrears. Tell the operator.'], ['通话服务已暂停', '账户欠费，请联系管理员。']],
  17: [['The device cannot be called', 'Its model does not fit its token. Restart the device.'], ['无法呼叫该设备', '设备型号与凭证不符，请重启设备。']],
  19: [['This person cannot be called', 'The number belongs to another mini program.'], ['无法呼叫该用户', '该用户编号属于其他小程序。']],
  20: [['This person is not known', 'Check the number of the person.'], ['用户编号无效', '请检查用户编号。']],
  22: [['This way of paying is not allowed', 'Tell the operator.'], ['不支持该计费方式', '请联系管理员。']],
  23: [['The licence of the device has expired', 'Tell the operator.'], ['设备许可已过期', '请联系管理员。']],
  24: [['The device has no licence yet', 'Tell the operator.'], ['设备许可未激活', '请联系管理员。']],
  1000: [['The device could not sign in', 'Check its network, then try again.'], ['设备登录失败', '请检查设备网络后重试。']],
  1001: [['The device cannot be called yet', 'Its push token is missing. Start the device once.'], ['暂时无法呼叫该设备', '缺少设备推送凭证，请先启动设备。']],
  1002: [['The server cannot be reached', 'Check your network, then try again.'], ['无法连接服务器', '请检查网络后重试。']],
  1003: [['The server gave an unexpected answer', 'Try again. If it stays so, tell the operator.'], ['服务器返回异常', '请重试；若仍失败请联系管理员。']],
  1004: [['The call could not be made', 'A detail is missing or wrong. Check both numbers.'], ['无法发起通话', '信息缺失或有误，请检查双方编号。']],
  1005: [['You are in another call', 'End that call first, also in other tabs.'], ['您正在通话中', '请先结束当前通话（包括其他标签页）。']],
  1006: [['Only a device can make this call', ''], ['只有设备可以发起这种呼叫', '']],
  1007: [['Only a person can make this call', ''], ['只有用户可以发起这种呼叫', '']],
  1008: [['The call is already over', 'Call back if you still want to talk.'], ['通话已经结束', '如有需要请回拨。']],
  1011: [['This kind of call is not offered', ''], ['不支持这种通话方式', '']],
  2000: [['Joining the call failed', 'Call again.'], ['加入通话失败', '请重新呼叫。']],
  2003: [['The pictures and sound could not be set up', 'The two sides have no format in common. Try a voice call.'], ['无法建立音视频', '双方没有共同的编码格式，请尝试语音通话。']],
  2004: [['No media connection', 'The network blocks UDP to the relay. Try another network or ask its operator.'], ['媒体连接失败', '网络可能阻止了 UDP，请更换网络或联系网络管理员。']],
  2007: [['The microphone does not work', 'Another program may be using it. Close that program and call again.'], ['麦克风无法使用', '可能被其他程序占用，请关闭后重新呼叫。']],
  2100: [['The other side is busy', 'Try again in a few minutes.'], ['对方正忙', '请稍后再试。']],
  2102: [['The microphone is blocked', 'Click the icon left of the address, allow the microphone, and call again.'], ['麦克风被禁止使用', '请点击地址栏左侧图标，允许使用麦克风后重新呼叫。']],
};

const INSECURE = [
  ['This page may not use the microphone', 'Browsers allow it only on https pages and on localhost. Open the page that way.'],
  ['此页面无法使用麦克风', '浏览器只允许在 https 或 localhost 页面使用，请改用这样的地址。'],
];

const NOT_DEMO = [
  ['The demo is switched off on this server', 'Start it with “relay serve --demo”, or open the page with #token=…'],
  ['该服务器未开启演示模式', '请用“relay serve --demo”启动，或在地址后加 #token=…'],
];

const RAN_OUT = [
  ['Your sign-in has run out', 'Open this page anew from the application it belongs to.'],
  ['登录已过期', '请从所属应用重新打开此页面。'],
];

const SIGNED_OUT = [
  ['You are not signed in', 'Reload the page to sign in again.'],
  ['登录已失效', '请刷新页面重新登录。'],
];

const OTHER = [
  ['The call failed', 'Try again. Code {code}: {text}'],
  ['通话失败', '请重试。代码 {code}：{text}'],
];

const ENDINGS = {
  ended: [['Call ended', ''], ['通话已结束', '']],
  busy: [['The other side is in another call', 'Try again in a few minutes.'], ['对方正在通话中', '请稍后再拨。']],
  noAnswer: [['No answer', 'Try again later.'], ['对方无应答', '请稍后再试。']],
  missed: [['Missed call', 'You can call back.'], ['未接来电', '您可以回拨。']],
  cancelled: [['Call cancelled', ''], ['通话已取消', '']],
  unreachable: [['The device could not be reached', 'Its server did not take the call. Try again later.'], ['设备无法接通', '设备的服务器未接受呼叫，请稍后再试。']],
  callerCancelled: [['Missed call', 'The other side stopped calling.'], ['未接来电', '对方已取消呼叫。']],
  declined: [['Call declined', ''], ['已拒绝', '']],
  peerDeclined: [['The other side declined', ''], ['对方已拒绝', '']],
  peerHungUp: [['The other side hung up', ''], ['对方已挂断', '']],
  forced: [['The call was ended by the app', ''], ['通话已被小程序结束', '']],
  timeLimit: [['The time for this call is over', ''], ['已达到通话时长上限', '']],
  taken: [['Someone else answered', ''], ['其他人已接听', '']],
  elsewhere: [['Answered on another page', ''], ['已在其他页面接听', '']],
  lostPeer: [['The other side lost its connection', 'Call again in a moment.'], ['对方连接中断', '请稍后重新呼叫。']],
  lostSelf: [['Your connection was lost', 'Check your network, then call again.'], ['您的连接已中断', '请检查网络后重新呼叫。']],
  neverCame: [['The caller did not come into the call', 'Call back if you want to talk.'], ['主叫方未能进入通话', '如有需要请回拨。']],
};

function words(entry, values = {}) {
  const [title, advice] = entry[lang() === 'zh' ? ZH : EN];
  return { title, advice: advice.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '') };
}

/** Whether an application gave this page its token. */
function wasHanded() {
  return new URLSearchParams(location.hash.slice(1)).has('token') || typeof window.relayHost?.token === 'function';
}

/** The words for a VoipError. */
export function ofError(failure) {
  // A device's own token function failed: what stopped it says more than the code 1000 around it.
  const error = failure.errCode === 1000 && failure.cause?.errCode !== undefined ? failure.cause : failure;
  if (error.extErrMsg === 'insecure-page') return words(INSECURE);
  if (error.extErrMsg === 'not-demo') return words(NOT_DEMO);
  if (error.httpStatus === 401) return words(wasHanded() ? RAN_OUT : SIGNED_OUT);
  return words(CODES[error.errCode] ?? OTHER, { code: error.errCode ?? '?', text: error.errMsg ?? error.message });
}

/** The words for a call that is over, from the SDK's state. */
export function ofEnd({ failure, end, role, bill, summary }) {
  if (failure) return { ...ofError(failure), bad: true };
  const kind = kindOf(end, role);
  const bad = ['busy', 'noAnswer', 'missed', 'unreachable', 'callerCancelled', 'peerDeclined', 'lostPeer', 'lostSelf', 'neverCame'].includes(kind);
  return { ...words(ENDINGS[kind]), bad, missed: kind === 'missed' || kind === 'callerCancelled', keepTime: summary?.keepTime ?? bill?.keepTime ?? 0 };
}

function kindOf(end, role) {
  if (!end) return 'ended';
  const { eventName, data, reason } = end;
  const mine = role === 'caller' ? 'Caller' : 'Listener';
  switch (eventName) {
    case 'answeredElsewhere':
      return 'elsewhere';
    case 'busy':
      return 'busy';
    case 'timeout':
      return role === 'caller' ? 'noAnswer' : 'missed';
    case 'cancelVoip':
      if (data.errCode) return 'unreachable'; // a cloud device's server said no, or nothing
      if (data.status === 'forceFromApp') return 'forced';
      if (reason === TAKEN && role !== 'caller') return 'taken';
      return role === 'caller' ? 'cancelled' : 'callerCancelled';
    case 'rejectVoip':
      if (data.status === 'forceFromApp') return 'forced';
      return role === 'caller' ? 'peerDeclined' : 'declined';
    case 'hangUpVoip':
      if (data.origin === 'timeLimit') return 'timeLimit';
      if (data.origin === 'forceFromApp') return 'forced';
      return data.origin === 'other' ? 'peerHungUp' : 'ended';
    case 'abortVoip':
      if (/waitOtherToJoin/.test(data.error?.errMsg ?? '')) return 'neverCame';
      return data.status === `abortBy${mine}` ? 'lostSelf' : 'lostPeer';
    default:
      return 'ended';
  }
}
