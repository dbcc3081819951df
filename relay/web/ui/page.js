/**
 * Page: what the mini-program page and the device page have in common: sign in, home view, calls, status line, test probe.
 */
import voip from '../sdk/wmpf-voip.js';
import { CODE } from '../sdk/errors.js';
import { pause } from '../sdk/runtime.js';
import { dress } from './icons.js';
import { followModality } from './modality.js';
import { languageButton, onLanguage, t } from './phrases.js';
import { placeFor } from './place.js';
import { Recents } from './recents.js';
import { Ringtone } from './ringtone.js';
import { Stage } from './stage.js';
import { ofEnd, ofError } from './verdict.js';

const EVENTS_KEPT = 500;
/** A page that a push opened for a call that is over by now goes home after this. */
const PUSHED_MS = 5_000;
/** A device leaves for its end page by then even if the node did not confirm the end. */
const LEAVE_MS = 3_000;
/** A node that cannot be reached is tried again after this, then after twice as long, up to the last. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 8_000;

/** Starts a page for an account; what its address and its host application may say is in account.js. */
export async function startPage(account) {
  const one = (id) => document.getElementById(id);
  const { customBox, baseUrl: _base, token: _token, ...own } = window.relayHost ?? {};
  const peer = one('peer');
  const status = one('status');
  const place = placeFor(account);
  const ringtone = new Ringtone();
  const events = [];
  let last = { peer: account.peer, video: !account.voice };
  let state = voip.state();
  let home = true; // the ended call was looked at
  let trouble = null; // an error outside a call
  let notice = '';

  document.body.classList.replace(account.kind === 'device' ? 'phone' : 'device', account.kind === 'device' ? 'device' : 'phone');
  document.body.classList.toggle('pushed', account.pushed);
  followModality();
  dress(document);
  languageButton(one('language'));
  peer.value = account.peer;
  for (const node of document.querySelectorAll('[data-self=name]')) node.textContent = account.name;
  for (const node of document.querySelectorAll('[data-self=id]')) node.textContent = account.id;
  for (const node of document.querySelectorAll('[data-peer=name]')) node.textContent = account.peerName;
  const face = () => {
    const shown = account.pushed ? account.peerName : peer.value.trim();
    const initial = [...shown][0]?.toUpperCase() ?? '?';
    for (const node of document.querySelectorAll('[data-peer=initial]')) node.textContent = initial;
  };
  peer.addEventListener('input', face);
  face();

  const recents = new Recents(one('recents'), `${account.kind}.${account.id}`, (id) => {
    peer.value = id;
    face();
    peer.focus();
  });

  const stage = new Stage(one('stage'), voip, {
    onAgain: () => call(last),
    onBack: () => {
      if (voip.leaveCallPage()) return;
      if (account.pushed) {
        location.replace(account.home);
        return;
      }
      home = true;
      show();
      one(last.video ? 'call-video' : 'call-voice').focus({ preventScroll: true });
    },
    onError: (error) => {
      trouble = error;
      show();
    },
    customBox,
  });

  async function call({ peer: to, video }) {
    if (!account.usable) return;
    const id = to.trim();
    if (!id) {
      notice = 'home.peer.missing';
      peer.focus();
      show();
      return;
    }
    trouble = null;
    notice = '';
    last = { peer: id, video };
    home = false;
    try {
      await place(last);
    } catch (error) {
      // A refused call is shown on the stage by its state; only what never became a call is shown here.
      if (voip.state().failure !== error) {
        trouble = error;
        home = true;
      }
    }
    show();
  }

  one('call-video').addEventListener('click', () => call({ peer: peer.value, video: true }));
  one('call-voice').addEventListener('click', () => call({ peer: peer.value, video: false }));
  peer.addEventListener('keydown', ({ key }) => {
    if (key === 'Enter') call({ peer: peer.value, video: true });
  });

  function words() {
    if (!home || !['idle', 'ended'].includes(state.phase)) {
      const { phase, roomType, path, notices } = state;
      if (phase === 'ended') return ofEnd(state).title;
      if (phase === 'ringing') return `${t(`state.ringing.${roomType}`)} · ${state.peer.name || state.peer.id}`;
      if (phase === 'talking' && path === 'broken') return t('state.broken');
      if (phase === 'talking' && trouble) return ofError(trouble).title;
      if (phase === 'talking' && notices.length) return t(noticeKey(notices));
      return t(`state.${phase}`);
    }
    if (!account.usable) return t('home.id.unusable', { id: account.id });
    const fault = trouble ?? state.linkFailure;
    if (fault) {
      const { title, advice } = ofError(fault);
      return advice ? `${title}. ${advice}`.replace('。. ', '。').replace(/([\u4e00-\u9fff])\. /, '$1。') : title;
    }
    if (account.pushed && state.phase === 'idle' && state.link === 'online') return t('state.connecting');
    return notice ? t(notice) : t(`link.${state.link}`);
  }

  function show() {
    const shown = home && state.phase === 'ended' ? { ...state, phase: 'idle' } : state;
    stage.update(shown);
    document.body.dataset.phase = shown.phase;
    document.body.dataset.kind = shown.roomType ?? '';
    one('home').inert = shown.phase !== 'idle';
    const text = words();
    if (status.textContent !== text) status.textContent = text; // a live region: say each thing once
    status.dataset.tone = toneOf(shown, trouble ?? state.linkFailure, notice || !account.usable);
    one('sound').hidden = !ringtone.silent || shown.phase !== 'idle';
    document.title = shown.phase === 'ringing' ? `● ${text}` : `${account.name} · ${t(`app.${account.kind === 'user' ? 'phone' : 'device'}`)}`;
    ringtone.play({ ringing: 'incoming', waiting: 'outgoing' }[shown.phase] ?? null);
  }

  function follow(next) {
    const { phase, roomId } = state;
    state = next;
    if (next.phase !== phase || next.roomId !== roomId) {
      if (next.phase === 'ringing') {
        home = false;
        trouble = null;
        last = { peer: next.peer.id, video: next.roomType === 'video' };
        if (account.auto === 'answer') voip.answer().catch(() => {});
      }
      if (next.phase === 'talking' || next.phase === 'connecting') home = false;
      if (next.phase === 'ended' && phase !== 'ended') {
        ended = true;
        if (next.kind === 'device' && next.endPage && !next.failure) setTimeout(() => voip.leaveCallPage(), LEAVE_MS);
      }
    }
    if (ended && (next.summary || next.failure)) {
      ended = false;
      const { missed = false } = ofEnd(next);
      const { id, name } = next.peer;
      recents.add({ id, name, out: next.role === 'caller', missed, seconds: next.summary?.keepTime ?? 0 });
    }
    show();
  }
  let ended = false;

  window.relayDemo = {
    state: () => ({
      phase: state.phase,
      roomId: state.roomId,
      role: state.role,
      link: state.link,
      path: state.path,
      keepTime: state.keepTime,
      lastEvent: events.at(-1) ?? null,
      events: events.map(({ eventName }) => eventName),
      log: [...events],
      error: state.failure ? { errCode: state.failure.errCode, errMsg: state.failure.errMsg } : null,
      trouble: trouble ? { errCode: trouble.errCode, errMsg: trouble.errMsg } : null,
      notices: [...state.notices],
    }),
    stats: () => voip.stats(),
    voip,
  };

  voip.onVoipEvent(({ eventName, roomId, data, seq, timestamp }) => {
    events.push({ eventName, roomId, data: structuredClone(data ?? null), seq, timestamp });
    if (events.length > EVENTS_KEPT) events.shift();
  });
  voip.onState(follow);
  onLanguage(show);
  for (const name of ['pointerdown', 'keydown']) addEventListener(name, () => setTimeout(show), { passive: true });

  async function signIn() {
    const { baseUrl, kind, id, name } = account;
    for (let wait = FIRST_RETRY_MS; ; wait = Math.min(wait * 2, LAST_RETRY_MS)) {
      try {
        await voip.connect({ ...own, baseUrl, token: () => account.token(), kind, id, name });
        return;
      } catch (error) {
        if (!isPassing(error)) throw error;
        trouble = error;
        show();
        await pause(wait);
      }
    }
  }

  if (!account.usable) {
    for (const name of ['call-video', 'call-voice']) one(name).disabled = true;
    show();
    return;
  }
  try {
    await signIn();
    trouble = null;
    show();
    if (account.room) await voip.join(account.room);
    else if (account.auto === 'call') await call({ peer: peer.value, video: !account.voice });
    if (account.pushed) setTimeout(() => state.phase === 'idle' && location.replace(account.home), PUSHED_MS);
  } catch (error) {
    trouble = error;
    show();
  }
}

/** Whether no answer came at all, also when the device's token could not be fetched for that reason. */
function isPassing(error) {
  const { errCode, httpStatus } = error.errCode === CODE.DEVICE_TOKEN_FAILED && error.cause ? error.cause : error;
  return errCode === CODE.REQUEST_FAILED && !httpStatus;
}

/** Of several notices one sentence: without a microphone the words about the camera would be wrong. */
function noticeKey(notices) {
  const camera = notices.find((name) => name !== 'no-microphone');
  return camera && notices.length > 1 ? `notice.silent.${camera}` : `notice.${notices[0]}`;
}

function toneOf({ phase, link, path, notices }, trouble, notice) {
  if (phase === 'talking') return path === 'broken' || notices.length || trouble ? 'warn' : 'calm';
  if (phase !== 'idle') return 'calm';
  if (trouble || notice) return 'warn';
  return { online: 'good', connecting: 'calm', offline: 'warn' }[link];
}
