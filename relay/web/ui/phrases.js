/**
 * Phrases: every text of the pages in Chinese and English, and the switch between them.
 * Elements with `data-t` get their text, with `data-t-label` their aria-label and title, with `data-t-hint` their placeholder.
 */

const PHRASES = {
  en: {
    'app.title': 'Relay demo',
    'app.phone': 'Mini program',
    'app.device': 'Device',
    'lang.switch': '中文',
    'lang.label': '切换到中文',
    'home.peer.device': 'Device to call',
    'home.peer.user': 'Person to call',
    'home.peer.hint': 'for example {example}',
    'home.video': 'Video call',
    'home.voice': 'Voice call',
    'home.you': 'You are',
    'home.open': 'Leave this page open to receive calls.',
    'home.recents': 'Recent calls',
    'home.none': 'No calls yet. Yours will be listed here.',
    'home.sound': 'Tap anywhere once so that calls can ring aloud.',
    'home.peer.missing': 'Enter the number to call first.',
    'home.id.unusable': 'The number “{id}” in the address cannot be used: it needs 1 to 64 letters, digits or . _ @ : -',
    'link.online': 'Ready for calls',
    'link.connecting': 'Connecting …',
    'link.offline': 'No connection, trying again …',
    'state.calling': 'Calling …',
    'state.waiting': 'Waiting for an answer …',
    'state.ringing.video': 'Incoming video call',
    'state.ringing.voice': 'Incoming voice call',
    'state.connecting': 'Connecting …',
    'state.talking': 'In call',
    'state.broken': 'Connection is weak, reconnecting …',
    'state.ended': 'Call ended',
    'call.answer': 'Answer',
    'call.reject': 'Decline',
    'call.cancel': 'Cancel',
    'call.hangup': 'Hang up',
    'call.mute': 'Mute',
    'call.unmute': 'Unmute',
    'call.camera.off': 'Camera off',
    'call.camera.on': 'Camera on',
    'call.speaker': 'Speaker',
    'call.swap': 'Swap the two pictures',
    'call.buttons.hide': 'Hide the buttons',
    'call.buttons.show': 'Show the buttons',
    'call.box.close': 'Close',
    'call.close': 'Close',
    'box.caller': 'Caller',
    'box.listener': 'Called',
    'call.hear': 'Tap to hear the other side',
    'call.still': 'No picture at the moment',
    'call.with': 'Call with {name}',
    'call.duration': 'Talked for {time}',
    'call.again': 'Call again',
    'call.back': 'Back',
    'call.controls': 'Call controls',
    'call.local': 'Your own picture',
    'call.remote': 'Picture of the other side',
    'quality.0': 'No signal',
    'quality.1': 'Poor',
    'quality.2': 'Fair',
    'quality.3': 'Good',
    'quality.4': 'Excellent',
    'quality.label': 'Connection: {word}',
    'notice.camera-refused': 'Your camera is blocked, so only your voice is sent. Allow it in the address bar.',
    'notice.no-camera': 'No camera was found, so only your voice is sent.',
    'notice.camera-in-use': 'The camera is used by another program, so only your voice is sent.',
    'notice.no-microphone': 'No microphone was found. You can hear, but nobody hears you.',
    'notice.silent.no-camera': 'No microphone and no camera were found. You can see and hear, but nobody sees or hears you.',
    'notice.silent.camera-refused': 'No microphone was found, and your camera is blocked. Nobody sees or hears you. Allow the camera in the address bar.',
    'notice.silent.camera-in-use': 'No microphone was found, and the camera is used by another program. Nobody sees or hears you.',
    'recents.out': 'Outgoing',
    'recents.in': 'Incoming',
    'recents.missed': 'Missed',
  },
  zh: {
    'app.title': '音视频中继演示',
    'app.phone': '小程序',
    'app.device': '设备',
    'lang.switch': 'English',
    'lang.label': 'Switch to English',
    'home.peer.device': '要呼叫的设备',
    'home.peer.user': '要呼叫的联系人',
    'home.peer.hint': '例如 {example}',
    'home.video': '视频通话',
    'home.voice': '语音通话',
    'home.you': '您是',
    'home.open': '保持此页面打开即可接听来电。',
    'home.recents': '最近通话',
    'home.none': '还没有通话记录。',
    'home.sound': '请点击一下页面，来电时才能响铃。',
    'home.peer.missing': '请先输入要呼叫的号码。',
    'home.id.unusable': '地址中的编号“{id}”无效：应为 1 到 64 个字母、数字或 . _ @ : -',
    'link.online': '可以接听来电',
    'link.connecting': '正在连接…',
    'link.offline': '连接已断开，正在重试…',
    'state.calling': '正在呼叫…',
    'state.waiting': '等待对方接听…',
    'state.ringing.video': '视频来电',
    'state.ringing.voice': '语音来电',
    'state.connecting': '正在接通…',
    'state.talking': '通话中',
    'state.broken': '网络不稳定，正在重新连接…',
    'state.ended': '通话已结束',
    'call.answer': '接听',
    'call.reject': '拒绝',
    'call.cancel': '取消',
    'call.hangup': '挂断',
    'call.mute': '静音',
    'call.unmute': '取消静音',
    'call.camera.off': '关闭摄像头',
    'call.camera.on': '打开摄像头',
    'call.speaker': '扬声器',
    'call.swap': '切换大小画面',
    'call.buttons.hide': '隐藏按钮',
    'call.buttons.show': '显示按钮',
    'call.box.close': '关闭',
    'call.close': '关闭',
    'box.caller': '主叫',
    'box.listener': '被叫',
    'call.hear': '点击收听对方声音',
    'call.still': '暂时没有画面',
    'call.with': '与 {name} 的通话',
    'call.duration': '通话时长 {time}',
    'call.again': '再次呼叫',
    'call.back': '返回',
    'call.controls': '通话按钮',
    'call.local': '自己的画面',
    'call.remote': '对方的画面',
    'quality.0': '无信号',
    'quality.1': '差',
    'quality.2': '一般',
    'quality.3': '良好',
    'quality.4': '优秀',
    'quality.label': '连接质量：{word}',
    'notice.camera-refused': '摄像头被禁止，仅发送声音。请在地址栏中允许使用。',
    'notice.no-camera': '未找到摄像头，仅发送声音。',
    'notice.camera-in-use': '摄像头被其他程序占用，仅发送声音。',
    'notice.no-microphone': '未找到麦克风。您能听到对方，但对方听不到您。',
    'notice.silent.no-camera': '未找到麦克风和摄像头。您能看到和听到对方，但对方看不到也听不到您。',
    'notice.silent.camera-refused': '未找到麦克风，且摄像头被禁止，对方看不到也听不到您。请在地址栏中允许使用摄像头。',
    'notice.silent.camera-in-use': '未找到麦克风，且摄像头被其他程序占用，对方看不到也听不到您。',
    'recents.out': '呼出',
    'recents.in': '呼入',
    'recents.missed': '未接',
  },
};

const KEPT = 'relay.lang';
const followers = new Set();
let language = first();

function first() {
  const asked = new URLSearchParams(location.search).get('lang');
  const wish = asked ?? kept() ?? navigator.language ?? 'en';
  return wish.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null; // storage switched off
  }
}

/** The present language, 'zh' or 'en'. */
export function lang() {
  return language;
}

/** The text of `key`, with {names} filled in; the key itself when there is none. */
export function t(key, values = {}) {
  const text = PHRASES[language][key] ?? PHRASES.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

/** Calls `follower` now and at each change of language. */
export function onLanguage(follower) {
  followers.add(follower);
  follower();
}

/** Fills every marked element below `root`. */
export function translate(root = document) {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  for (const node of root.querySelectorAll('[data-t]')) node.textContent = t(node.dataset.t);
  for (const node of root.querySelectorAll('[data-t-label]')) {
    node.setAttribute('aria-label', t(node.dataset.tLabel));
    node.title = t(node.dataset.tLabel);
  }
  for (const node of root.querySelectorAll('[data-t-hint]')) {
    node.placeholder = t(node.dataset.tHint, { example: node.dataset.example ?? '' });
  }
}

/** Makes `button` the switch to the other language. */
export function languageButton(button) {
  button.addEventListener('click', () => {
    language = language === 'zh' ? 'en' : 'zh';
    try {
      localStorage.setItem(KEPT, language);
    } catch {
      // The choice then lasts as long as the page.
    }
    for (const follower of followers) follower();
  });
  onLanguage(() => translate());
}

/** Adds a page's own texts: {en: {...}, zh: {...}}. */
export function addPhrases(more) {
  for (const [name, texts] of Object.entries(more)) Object.assign(PHRASES[name], texts);
}
