/** The device side of a call: a screen on the wall that is called by users and calls them. */
import { Account } from './ui/account.js';
import { lang, onLanguage } from './ui/phrases.js';
import { startPage } from './ui/page.js';

const account = new Account('device', { id: 'device-1', name: 'Living room', peer: 'mia' });

const clock = document.getElementById('clock');
const date = document.getElementById('date');

function showTime() {
  const now = new Date();
  const locale = lang() === 'zh' ? 'zh-CN' : 'en-GB';
  clock.textContent = now.toLocaleTimeString(locale, { hour: '2-digit', minute: '2-digit', hour12: false });
  date.textContent = now.toLocaleDateString(locale, { weekday: 'long', day: 'numeric', month: 'long' });
}

setInterval(showTime, 1_000);
onLanguage(showTime);

startPage(account);
