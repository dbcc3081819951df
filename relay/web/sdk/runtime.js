/**
 * Runtime: what the SDK needs of its surroundings, in a browser, in Node (>= 20) and in a mini program.
 *
 * A mini program has `wx.request`, `wx.connectSocket`, timers, Promise and Date, and no fetch, WebSocket, URL, performance or
 * crypto. So nothing else of this folder may name those, apart from the files of the media (capture, framing, leg, stats),
 * which only run where there is an RTCPeerConnection. Everything is looked up when it is used, never when it is loaded.
 */

const REQUEST_TIMEOUT_MS = 10_000;

/** True inside a mini program; the `wx` of WeChat's web views has no requests and does not count. */
export function inMiniProgram() {
  return typeof wx === 'object' && wx !== null && typeof wx.request === 'function';
}

/** True where the SDK can carry sound and pictures itself. */
export function hasMedia() {
  return typeof RTCPeerConnection === 'function';
}

/**
 * One HTTP request. Resolves to {status, text, header(name)} for every answer, rejects with an Error whose message says
 * why there was none.
 */
export function request(url, { method, headers, body, keepalive = false }) {
  if (inMiniProgram()) return requestByWx(url, { method, headers, body });
  return requestByFetch(url, { method, headers, body, keepalive });
}

async function requestByFetch(url, init) {
  let response;
  try {
    response = await fetch(url, { ...init, cache: 'no-store', signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
    return { status: response.status, text: await response.text(), header: (name) => response.headers.get(name) };
  } catch (cause) {
    throw new Error(cause.name === 'TimeoutError' ? `no answer within ${REQUEST_TIMEOUT_MS / 1000} s` : 'the node cannot be reached', { cause });
  }
}

function requestByWx(url, { method, headers, body }) {
  return new Promise((done, fail) => {
    wx.request({
      url,
      method,
      header: headers,
      data: body,
      dataType: 'text', // anything but 'json': the answer stays the text it is
      responseType: 'text',
      timeout: REQUEST_TIMEOUT_MS,
      success: ({ statusCode, data, header }) => {
        const found = Object.entries(header ?? {}).map(([name, value]) => [name.toLowerCase(), value]);
        const fields = Object.fromEntries(found);
        const text = typeof data === 'string' ? data : JSON.stringify(data ?? '');
        done({ status: statusCode, text, header: (name) => fields[name.toLowerCase()] ?? null });
      },
      fail: ({ errMsg }) => fail(new Error(errMsg || 'the node cannot be reached')),
    });
  });
}

/**
 * Opens a WebSocket; `on` has open(), message(text) and close(), the last at most once and also for one that never opened.
 * `Class` stands in where the runtime has none. Returns {isOpen, send(text), close()}.
 */
export function openSocket(url, protocols, on, Class) {
  return !Class && inMiniProgram() ? socketByWx(url, protocols, on) : socketByClass(url, protocols, on, Class ?? globalThis.WebSocket);
}

function socketByClass(url, protocols, on, Class) {
  if (typeof Class !== 'function') throw new Error('there is no WebSocket here; give connect() one: { WebSocket }');
  const socket = new Class(url, protocols);
  let over = false;
  const end = () => {
    if (over) return;
    over = true;
    on.close();
  };
  socket.onopen = () => on.open();
  socket.onmessage = ({ data }) => on.message(String(data));
  socket.onclose = end;
  socket.onerror = end; // Node lets no close follow when a connection fails
  return {
    get isOpen() {
      return socket.readyState === 1;
    },
    send: (text) => socket.send(text),
    close: () => socket.close(1000),
  };
}

function socketByWx(url, protocols, on) {
  let isOpen = false;
  let over = false;
  const end = () => {
    if (over) return;
    over = true;
    isOpen = false;
    on.close();
  };
  const task = wx.connectSocket({ url, protocols, fail: end });
  task.onOpen(() => {
    isOpen = true;
    on.open();
  });
  task.onMessage(({ data }) => on.message(String(data)));
  task.onClose(end);
  task.onError(end); // not every client lets a close follow
  return {
    get isOpen() {
      return isOpen;
    },
    send: (data) => task.send({ data }),
    close: () => task.close({ code: 1000 }),
  };
}

/** Milliseconds on a clock for differences; monotonic where the runtime has such a clock. */
export function now() {
  return typeof performance === 'object' ? performance.now() : Date.now();
}

export function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

/** A key no other request has. */
export function uniqueKey() {
  const random = () => Math.random().toString(36).slice(2);
  return typeof crypto === 'object' && crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${random()}${random()}`;
}

/** Shows a fault of the application's own code where such faults are shown, without stopping ours. */
export function report(error) {
  if (typeof reportError === 'function') reportError(error);
  else if (typeof console === 'object') console.error(error);
}

/** Calls `act` when the network comes back; returns the off function. */
export function onOnline(act) {
  if (inMiniProgram()) {
    const changed = ({ isConnected }) => isConnected && act();
    wx.onNetworkStatusChange?.(changed);
    return () => wx.offNetworkStatusChange?.(changed);
  }
  globalThis.addEventListener?.('online', act);
  return () => globalThis.removeEventListener?.('online', act);
}

/** Calls `act` when the page goes away for good. */
export function onLeave(act) {
  globalThis.addEventListener?.('pagehide', act);
}

/** The language texts of ours should have, 'zh' or 'en'. */
export function language() {
  if (inMiniProgram()) return (wx.getAppBaseInfo?.().language ?? 'zh').startsWith('zh') ? 'zh' : 'en';
  const wish = globalThis.document?.documentElement.lang || globalThis.navigator?.language || 'en';
  return wish.startsWith('zh') ? 'zh' : 'en';
}

/** How the application was entered: {path, query, ...}, the query still in whatever form it has here. */
export function entered() {
  if (inMiniProgram()) return wx.getEnterOptionsSync?.() ?? { path: '', query: {}, scene: 0 };
  const { pathname = '', search = '' } = globalThis.location ?? {};
  return { path: pathname, query: search, scene: 0 };
}

/** The query of the page that is shown now. */
export function pageQuery() {
  if (!inMiniProgram()) return globalThis.location?.search ?? '';
  const pages = typeof getCurrentPages === 'function' ? getCurrentPages() : [];
  return pages[pages.length - 1]?.options ?? entered().query;
}

/** Goes to a page as `routeType` says. A tab page of a mini program takes no parameters, so it gets none. */
export function jump({ url, address, routeType }) {
  if (inMiniProgram()) wx[routeType]({ url: routeType === 'switchTab' ? url : address });
  // A browser has no tab pages and cannot close earlier pages: only 'switchTab' keeps this page in the history.
  else if (routeType === 'switchTab') globalThis.location?.assign(address);
  else globalThis.location?.replace(address);
}
