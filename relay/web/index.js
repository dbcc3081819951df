/** The start page: two doors, with the numbers of both sides filled in. */
import { addPhrases, languageButton, onLanguage, t } from './ui/phrases.js';

addPhrases({
  en: {
    'index.title': 'Calls between a device and a mini program',
    'index.lead': 'Open one page as the phone and one as the device, then let either call the other. Sound and picture travel through this relay.',
    'index.user': 'Mini program user',
    'index.user.text': 'What a person sees on the phone.',
    'index.device': 'Device',
    'index.device.text': 'What a screen or doorbell shows.',
    'index.open': 'Open in a new tab',
    'index.user.id': 'Number of the user',
    'index.device.id': 'Number of the device',
    'index.problem': 'A number has 1 to 64 letters, digits, “-” or “_”.',
    'index.step1': 'Open both pages and allow microphone and camera when asked.',
    'index.step2': 'Press “Video call” or “Voice call” on one of them.',
    'index.step3': 'Press “Answer” on the other. The bars at the top show the quality.',
    'index.test': 'Test the JavaScript SDK in this browser',
    'index.insecure': 'This address is not https. Browsers give microphone and camera only to https pages and to localhost.',
  },
  zh: {
    'index.title': '设备与小程序之间的音视频通话',
    'index.lead': '分别打开手机页面和设备页面，任意一方都可以呼叫另一方。声音和画面经由本中继传输。',
    'index.user': '小程序用户',
    'index.user.text': '用户在手机上看到的页面。',
    'index.device': '设备',
    'index.device.text': '运行在屏幕、门铃或手表上的页面。',
    'index.open': '在新标签页打开',
    'index.user.id': '用户编号',
    'index.device.id': '设备编号',
    'index.problem': '编号由 1 到 64 个字母、数字、“-”或“_”组成。',
    'index.step1': '打开两个页面，并在提示时允许使用麦克风和摄像头。',
    'index.step2': '在其中一个页面点击“视频通话”或“语音通话”。',
    'index.step3': '在另一个页面点击“接听”。顶部的信号格显示通话质量。',
    'index.test': '在此浏览器中测试 JavaScript SDK',
    'index.insecure': '当前地址不是 https。浏览器只允许 https 或 localhost 页面使用麦克风和摄像头。',
  },
});

const ID = /^[\w-]{1,64}$/;
const KEPT = 'relay.demo.number';
const user = document.getElementById('user');
const device = document.getElementById('device');

/** Visitors of one node must not take each other's calls: each browser has its own pair of numbers. */
function number() {
  const made = String(1000 + Math.floor(Math.random() * 9000));
  try {
    const kept = localStorage.getItem(KEPT) ?? made;
    localStorage.setItem(KEPT, kept);
    return kept;
  } catch {
    return made;
  }
}

function link() {
  const wrong = [user, device].filter(({ value }) => !ID.test(value.trim()));
  document.getElementById('ids-problem').textContent = wrong.length ? t('index.problem') : '';
  for (const input of [user, device]) input.setAttribute('aria-invalid', String(wrong.includes(input)));
  const zh = document.documentElement.lang.startsWith('zh');
  const names = zh ? ['小美', '客厅屏'] : ['Mia', 'Living room'];
  const to = (page, id, name, peer) => `${page}?${new URLSearchParams({ id: id.value.trim(), name, peer: peer.value.trim() })}`;
  document.getElementById('open-user').href = to('call.html', user, names[0], device);
  document.getElementById('open-device').href = to('device.html', device, names[1], user);
}

const mine = number();
user.value = `mia-${mine}`;
device.value = `screen-${mine}`;
user.addEventListener('input', link);
device.addEventListener('input', link);
document.getElementById('insecure').hidden = window.isSecureContext;
languageButton(document.getElementById('language'));
onLanguage(link);
