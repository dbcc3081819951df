/**
 * Runs a scenario against the SDK outside a browser and prints its result as one line of JSON.
 *
 *   node --experimental-vm-modules --experimental-websocket runtime.mjs wx|node BASE_URL < scenario.js
 *
 * The scenario is the body of an async function of (voip, sdk, baseUrl, seen, wx). With `wx` the SDK is loaded into a context
 * that has the language itself, timers and a `wx` over real HTTP and WebSocket: what a mini program has, and nothing else.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';

const SDK = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../relay/web/sdk/wmpf-voip.js');
const [kind, baseUrl] = process.argv.slice(2);
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const body = Buffer.concat(chunks).toString();

/** `wx` as a mini program has it; `log` keeps the jumps and dialogs, `modal` and `enter` are what the person and launch give. */
function makeWx() {
  const log = [];
  const tell = (name) => (options) => log.push([name, options.url]);
  return {
    log,
    modal: { confirm: true, cancel: false },
    enter: { path: 'pages/index', query: {}, scene: 1001 },
    request({ url, method, header, data, success, fail }) {
      fetch(url, { method, headers: header, body: data }).then(
        async (response) =>
          success({ statusCode: response.status, data: await response.text(), header: Object.fromEntries(response.headers) }),
        (error) => fail({ errMsg: `request:fail ${error.message}` }),
      );
    },
    connectSocket({ url, protocols }) {
      const socket = new WebSocket(url, protocols);
      return {
        onOpen: (act) => socket.addEventListener('open', () => act({})),
        onMessage: (act) => socket.addEventListener('message', ({ data }) => act({ data })),
        onClose: (act) => socket.addEventListener('close', ({ code }) => act({ code })),
        onError: (act) => socket.addEventListener('error', () => act({ errMsg: 'socket failed' })),
        send: ({ data }) => socket.send(data),
        close: ({ code }) => socket.close(code),
      };
    },
    showModal({ title, success }) {
      log.push(['showModal', title]);
      success(this.modal);
    },
    getEnterOptionsSync() {
      return this.enter;
    },
    redirectTo: tell('redirectTo'),
    switchTab: tell('switchTab'),
    reLaunch: tell('reLaunch'),
  };
}

async function loadInto(context, file, loaded = new Map()) {
  if (loaded.has(file)) return loaded.get(file);
  const module = new vm.SourceTextModule(await readFile(file, 'utf8'), { context, identifier: file });
  loaded.set(file, module);
  await module.link((name, from) => loadInto(context, path.resolve(path.dirname(from.identifier), name), loaded));
  return module;
}

async function inMiniProgram() {
  const wx = makeWx();
  const context = vm.createContext({ wx, setTimeout, clearTimeout, setInterval, clearInterval });
  const module = await loadInto(context, SDK);
  await module.evaluate();
  const run = vm.runInContext(`(async (voip, sdk, baseUrl, seen, wx) => {${body}\n})`, context);
  return { sdk: module.namespace, run, wx };
}

async function inNode() {
  const run = new Function('voip', 'sdk', 'baseUrl', 'seen', 'wx', `return (async () => {${body}\n})()`);
  return { sdk: await import(SDK), run, wx: null };
}

const { sdk, run, wx } = await (kind === 'wx' ? inMiniProgram() : inNode());
const voip = sdk.default;
const events = [];
const waiting = [];
voip.onVoipEvent((event) => {
  events.push(event);
  for (const wait of waiting) wait();
});
/** The first `count` events, waiting for them. */
const seen = (count) =>
  new Promise((done) => {
    const look = () => events.length >= count && done(events.slice(0, count));
    waiting.push(look);
    look();
  });
try {
  console.log(JSON.stringify({ result: (await run(voip, sdk, baseUrl, seen, wx)) ?? null }));
} catch (error) {
  console.log(JSON.stringify({ error: { name: error.name, errCode: error.errCode, errMsg: error.errMsg ?? error.message } }));
}
process.exit();
