/**
 * Test: the SDK's own test page. `sdkTest.run()` plays everything and resolves to its rows; `?run=1` runs at once.
 * A row is {group, name, ok, seen}: `seen` is what was found, or why it failed.
 */
import { testCalls } from './test-calls.js';
import { testMembers } from './test-members.js';

const one = (id) => document.getElementById(id);
const rows = [];
let running = false;

/** Runs one check and shows its row; `act` returns what was seen and throws when it is wrong. */
async function check(group, name, act) {
  const row = { group, name, ok: false, seen: '' };
  try {
    row.seen = String((await act()) ?? '');
    row.ok = true;
  } catch (error) {
    row.seen = error.errMsg ?? error.message ?? String(error);
  }
  rows.push(row);
  show(row);
}

function show({ group, name, ok, seen }) {
  const cells = [ok ? 'ok' : 'failed', name, seen].map((text) => Object.assign(document.createElement('td'), { textContent: text }));
  cells[0].className = cells[0].textContent;
  if (rows.length === 1 || rows.at(-2).group !== group) {
    const head = Object.assign(document.createElement('th'), { colSpan: 3, scope: 'colgroup', textContent: group });
    const line = Object.assign(document.createElement('tr'), { className: 'group' });
    line.append(head);
    one('rows').append(line);
  }
  const line = document.createElement('tr');
  line.append(...cells);
  one('rows').append(line);
  one('verdict').textContent = `Running … ${rows.length} checks so far`;
}

async function run() {
  if (running) return rows;
  running = true;
  one('run').disabled = true;
  rows.length = 0;
  one('rows').replaceChildren();
  delete one('verdict').dataset.ok;
  const pictures = { device: one('device-sees'), user: one('user-sees') };
  await testMembers(check);
  await testCalls(check, pictures);
  const failed = rows.filter(({ ok }) => !ok).length;
  one('verdict').dataset.ok = String(failed === 0);
  one('verdict').textContent = failed ? `${failed} of ${rows.length} checks failed` : `All ${rows.length} checks passed`;
  one('run').disabled = false;
  running = false;
  return rows;
}

one('run').addEventListener('click', run);
window.sdkTest = { run, rows, get running() { return running; } };
if (new URLSearchParams(location.search).get('run') === '1') run();
