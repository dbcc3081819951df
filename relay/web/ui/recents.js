/** Recents: the last calls of this page, kept for the browser session. */
import { ICONS } from './icons.js';
import { onLanguage, t } from './phrases.js';
import { clockFace } from './timer.js';

const KEPT = 20;

export class Recents {
  #list;
  #key;
  #calls;
  #onPick;

  /** `onPick(id)` is called when an entry is tapped. */
  constructor(list, key, onPick) {
    this.#list = list;
    this.#key = `relay.recents.${key}`;
    this.#onPick = onPick;
    this.#calls = this.#load();
    onLanguage(() => this.#render());
  }

  /** Adds {id, name, out, missed, seconds}. */
  add(call) {
    this.#calls = [{ ...call, at: Date.now() }, ...this.#calls].slice(0, KEPT);
    try {
      sessionStorage.setItem(this.#key, JSON.stringify(this.#calls));
    } catch {
      // Without storage the list lasts as long as the page.
    }
    this.#render();
  }

  #load() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#key) ?? '[]');
    } catch {
      return [];
    }
  }

  #render() {
    this.#list.replaceChildren(...(this.#calls.length ? this.#calls.map((call) => this.#row(call)) : [empty()]));
  }

  #row(call) {
    const row = document.createElement('li');
    const button = document.createElement('button');
    const way = call.missed ? 'missed' : call.out ? 'out' : 'in';
    button.type = 'button';
    button.className = `recent ${way}`;
    const icon = document.createElement('span');
    icon.className = 'recent-way';
    icon.innerHTML = ICONS[way];
    const name = document.createElement('span');
    name.className = 'recent-name';
    name.textContent = call.name || call.id;
    const detail = document.createElement('span');
    detail.className = 'recent-detail';
    const time = new Date(call.at).toLocaleTimeString(document.documentElement.lang, { hour: '2-digit', minute: '2-digit' });
    detail.textContent = `${t(`recents.${way}`)} · ${time}${call.seconds ? ` · ${clockFace(call.seconds)}` : ''}`;
    button.append(icon, name, detail);
    button.addEventListener('click', () => this.#onPick(call.id));
    row.append(button);
    return row;
  }
}

function empty() {
  const row = document.createElement('li');
  row.className = 'recent-none';
  row.textContent = t('home.none');
  return row;
}
