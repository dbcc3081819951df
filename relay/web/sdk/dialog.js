/**
 * Dialog: asks the person in front of a browser whether a device may call. In a mini program `wx.showModal` does it.
 */
import { inMiniProgram, language } from './runtime.js';

const WX_BUTTON_MAX = 4; // characters

const WORDS = {
  en: {
    title: 'Allow calls from “{name}”?',
    one: 'This device may then ring you for voice and video calls. You can withdraw it at any time.',
    group: 'Every device of this group may then ring you for voice and video calls. You can withdraw it at any time.',
    agree: 'Allow',
    refuse: 'Refuse',
  },
  zh: {
    title: '允许“{name}”呼叫您？',
    one: '允许后，该设备可以向您发起语音和视频通话。您可以随时取消授权。',
    group: '允许后，该组内的所有设备都可以向您发起语音和视频通话。您可以随时取消授权。',
    agree: '允许',
    refuse: '拒绝',
  },
};

const STYLE = `
  dialog { box-sizing: border-box; width: min(340px, calc(100vw - 32px)); padding: 24px; border: 0; border-radius: 20px;
    background: #fff; color: #14212e; font: 16px/1.5 system-ui, 'PingFang SC', 'Noto Sans CJK SC', sans-serif;
    box-shadow: 0 20px 60px rgb(20 33 46 / 35%); }
  dialog:focus { outline: none; } /* it has the focus itself, so that Enter decides nothing */
  dialog::backdrop { background: rgb(10 20 30 / 55%); }
  h2 { margin: 0 0 10px; font-size: 1.2rem; line-height: 1.3; overflow-wrap: anywhere; }
  p { margin: 0 0 22px; color: #536576; }
  div { display: flex; gap: 12px; }
  button { flex: 1; min-height: 48px; border: 1.5px solid #dbe3ea; border-radius: 14px; background: #fff; color: inherit;
    font: inherit; font-weight: 600; cursor: pointer; }
  #agree { border-color: #0b7a75; background: #0b7a75; color: #fff; }
  button:focus-visible { outline: 3px solid #2a8cff; outline-offset: 2px; }`;

/** The question about a grant in the person's language: {name, isGroup, title, content, confirmText, cancelText}. */
export function question({ name, isGroup }) {
  const words = WORDS[language()];
  return {
    name,
    isGroup,
    title: words.title.replace('{name}', name),
    content: isGroup ? words.group : words.one,
    confirmText: words.agree,
    cancelText: words.refuse,
  };
}

/** How this runtime asks by itself: an async function of a question, true, false or null (put off); null: it cannot. */
export function ownDialog() {
  if (inMiniProgram()) return wx.showModal ? askByWx : null;
  return typeof document === 'object' ? askInPage : null;
}

function askByWx({ title, content, confirmText, cancelText }) {
  return new Promise((done) => {
    wx.showModal({
      title,
      content,
      // A longer text would make the call fail; the client has words of its own.
      ...(Math.max(confirmText.length, cancelText.length) <= WX_BUTTON_MAX ? { confirmText, cancelText } : {}),
      success: ({ confirm, cancel }) => done(confirm ? true : cancel ? false : null),
      fail: () => done(null),
    });
  });
}

function askInPage({ title, content, confirmText, cancelText }) {
  const host = document.createElement('div');
  host.className = 'voip-dialog';
  const root = host.attachShadow({ mode: 'open' }); // the page's own styles stay out, ours stay in
  root.innerHTML = `<style>${STYLE}</style>
    <dialog tabindex="-1" aria-labelledby="title" aria-describedby="text"><h2 id="title"></h2><p id="text"></p>
    <div><button type="button" id="refuse"></button><button type="button" id="agree"></button></div></dialog>`;
  const one = (id) => root.getElementById(id);
  one('title').textContent = title;
  one('text').textContent = content;
  one('refuse').textContent = cancelText;
  one('agree').textContent = confirmText;
  document.body.append(host);
  const dialog = root.querySelector('dialog');
  return new Promise((done) => {
    let decision = null; // Escape puts the question off: a refusal is remembered, so it takes a button of its own
    const decide = (value) => {
      decision = value;
      dialog.close();
    };
    one('agree').addEventListener('click', () => decide(true));
    one('refuse').addEventListener('click', () => decide(false));
    dialog.addEventListener('close', () => {
      host.remove();
      done(decision);
    });
    dialog.showModal();
    dialog.focus();
  });
}
