/** The part of the test page that calls: a device and a user of this page, through the node, in every way a call can go. */
import { createVoip } from './wmpf-voip.js';
import { errorOf, same } from './test-members.js';

const WAIT_MS = 20_000;

/** One connected party; keeps every event. */
class Client {
  events = [];
  voip = createVoip();
  #waiting = new Set();

  constructor(kind, id, name) {
    this.kind = kind;
    this.id = id;
    this.name = name;
    this.voip.onVoipEvent((event) => {
      this.events.push(event);
      for (const look of [...this.#waiting]) look();
    });
  }

  async connect() {
    this.token = await demoToken(this.kind, this.id, this.name);
    await this.voip.connect({ token: this.token, name: this.name });
  }

  /** The first event of this name in this room, waiting for it. */
  until(eventName, roomId) {
    const found = () => this.events.find((event) => event.eventName === eventName && (roomId === undefined || event.roomId === roomId));
    return new Promise((done, fail) => {
      const look = () => {
        const event = found();
        if (!event) return;
        this.#waiting.delete(look);
        clearTimeout(timer);
        done(event);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        fail(new Error(`${this.kind}: ${eventName} did not come; came: ${this.names(roomId).join(', ')}`));
      }, WAIT_MS);
      this.#waiting.add(look);
      look();
    });
  }

  /** The names of a room's events in order, without the ticks. */
  names(roomId) {
    return this.events.filter((event) => event.roomId === roomId && event.eventName !== 'calling').map(({ eventName }) => eventName);
  }

  data(eventName, roomId) {
    return this.events.find((event) => event.eventName === eventName && event.roomId === roomId)?.data;
  }
}

async function demoToken(kind, id, name) {
  const response = await fetch('/demo/token', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ kind, id, name }),
  });
  if (!response.ok) throw new Error('no demo token: start the node with “relay serve --demo”');
  return (await response.json()).token;
}

/** `pictures` are the video elements {device, user} that show what each side sees. */
export async function testCalls(check, pictures) {
  const mark = Math.random().toString(36).slice(2, 8);
  const device = new Client('device', `test-door-${mark}`, 'Door');
  const user = new Client('user', `test-mia-${mark}`, 'Mia');
  const second = new Client('user', `test-ben-${mark}`, 'Ben');
  for (const client of [device, user]) {
    client.voip.onState(({ remote }) => {
      if (pictures[client.kind].srcObject !== remote) pictures[client.kind].srcObject = remote;
    });
  }
  let ready = false;
  await check('Connection', 'a device and a user connect', async () => {
    await Promise.all([device.connect(), user.connect(), second.connect()]);
    ready = true;
    return same([device.voip.state().kind, user.voip.state().kind], ['device', 'user']);
  });
  if (!ready) return;
  try {
    await testSides(check, device, user);
    await testFlows(check, device, user);
    await testListeners(check, device, user, second);
    await testContacts(check, device, user);
  } finally {
    device.voip.close();
    user.voip.close();
    second.voip.close();
  }
}

async function testSides(check, device, user) {
  const { id: openid } = user;
  const { id: sn } = device;
  const mode = (businessType, more) => ({ businessType, roomType: 'voice', caller: { id: openid }, listener: { id: sn }, ...more });
  const group = 'The right side, the right token';
  const refused = async (result, code) => same([(await result).isSuccess, (await result).errCode], [false, code]);
  await check(group, 'mode 1 in a user client: 1006', () => refused(user.voip.initByCaller(mode(1)), 1006));
  await check(group, 'mode 2 on a device: 1007', () => refused(device.voip.initByCaller(mode(2, { voipToken: 't' })), 1007));
  await check(group, 'callWMPF on a device: 1007', async () => {
    const { errCode } = await errorOf(() => device.voip.callWMPF({ roomType: 'voice', sn, modelId: 'demo', pushToken: 't', nickName: 'n' }));
    return same(errCode, 1007);
  });
  await check(group, 'mode 2 without voipToken: 1001', () => refused(user.voip.initByCaller(mode(2)), 1001));
  await check(group, 'callWMPF with an empty pushToken: 1001', async () => {
    const { errCode } = await errorOf(() => user.voip.callWMPF({ roomType: 'voice', sn, modelId: 'demo', pushToken: '', nickName: 'n' }));
    return same(errCode, 1001);
  });
}

const TALK = {
  caller: ['callPageOnShow', 'joinedRoomByCaller', 'startVoip', 'hangUpVoip', 'endVoip', 'finishVoip'],
  listener: ['incomingCall', 'callPageOnShow', 'hangOnVoip', 'startVoip', 'hangUpVoip', 'endVoip', 'finishVoip'],
};

function ended(reason) {
  return {
    caller: ['callPageOnShow', 'joinedRoomByCaller', reason, 'endVoip', 'finishVoip'],
    listener: ['incomingCall', 'callPageOnShow', reason, 'endVoip', 'finishVoip'],
  };
}

async function testFlows(check, device, user) {
  const toUser = async (more) => {
    const { isSuccess, roomId, groupId, chargeType, errMsg } = await device.voip.initByCaller({
      businessType: 1,
      roomType: 'voice',
      caller: { id: device.id, name: device.name },
      listener: { id: user.id, name: user.name },
      ...more,
    });
    if (!isSuccess) throw new Error(errMsg);
    if (groupId !== roomId || !['duration', 'license'].includes(chargeType)) throw new Error('the result has another shape');
    return { roomId, caller: device, listener: user };
  };
  const toDevice = async (more) => {
    const { roomId } = await user.voip.callDevice({ roomType: 'voice', sn: device.id, modelId: 'demo', nickName: user.name, ...more });
    return { roomId, caller: user, listener: device };
  };

  /** One call: begins, waits until it rings and the caller is in, does `act`, and compares both sides' events. */
  const flow = (name, begin, wanted, act) =>
    check('Calls', name, async () => {
      const call = await begin();
      const { roomId, caller, listener } = call;
      await Promise.all([caller.until('joinedRoomByCaller', roomId), listener.until('callPageOnShow', roomId)]);
      const seen = await act(call);
      await Promise.all([caller.until('finishVoip', roomId), listener.until('finishVoip', roomId)]);
      same(caller.names(roomId), wanted.caller);
      same(listener.names(roomId), wanted.listener);
      const { roomType, isCaller, keepTime } = caller.data('endVoip', roomId);
      same([typeof roomType, isCaller, Number.isInteger(keepTime)], ['string', true, true]);
      same(listener.data('endVoip', roomId).isCaller, false);
      return `${wanted.caller.join(' → ')}${seen ? ` (${seen})` : ''}`;
    });
  const talk = async ({ roomId, caller, listener }) => {
    await listener.voip.answer(roomId);
    await Promise.all([caller.until('startVoip', roomId), listener.until('startVoip', roomId)]);
  };
  const reasons = (eventName, { roomId, caller, listener }) =>
    Promise.all([caller, listener].map(async (side) => (await side.until(eventName, roomId)).data));

  await flow('voice, device to user, answered and hung up by the user', toUser, TALK, async (call) => {
    await talk(call);
    const { keepTime } = (await call.caller.until('calling', call.roomId)).data;
    await call.listener.voip.hangUp(call.roomId);
    const [mine, theirs] = await reasons('hangUpVoip', call);
    same([mine.status, mine.origin, theirs.status, theirs.origin], ['endByListener', 'other', 'endByListener', 'manual']);
    return `first tick at ${keepTime} s`;
  });
  await flow('video, user to device, answered and hung up by the caller', () => toDevice({ roomType: 'video' }), TALK, async (call) => {
    await talk(call);
    const frames = await Promise.all([pictures(call.caller), pictures(call.listener)]);
    await call.caller.voip.hangUp(call.roomId);
    const [mine, theirs] = await reasons('hangUpVoip', call);
    same([mine.origin, theirs.origin], ['manual', 'other']);
    return `${frames.join(' and ')} frames decoded`;
  });
  await flow('video in the form a device asked for: 320 long, 4:3 turned, 10 frames', () => toDevice({
    roomType: 'video',
    encodeVideoFixedLength: 320,
    encodeVideoRotation: 2,
    encodeVideoMaxFPS: 10,
  }), TALK, async (call) => {
    await talk(call);
    await pictures(call.listener);
    const { video } = await call.listener.voip.stats();
    await call.caller.voip.hangUp(call.roomId);
    same([video.width, video.height], [240, 320]);
    // The counter is of one second and may catch a late frame of the one before; the camera's own rate is 20 and more.
    if (video.framesPerSecond > 14) throw new Error(`${video.framesPerSecond} frames a second`);
    return `${video.width}x${video.height} at ${video.framesPerSecond} frames a second`;
  });
  await flow('rejected', toUser, ended('rejectVoip'), async (call) => {
    await call.listener.voip.reject(call.roomId);
    const [mine, theirs] = await reasons('rejectVoip', call);
    return same([mine.status, theirs.status], ['other', 'manual']);
  });
  await flow('cancelled by the caller', toDevice, ended('cancelVoip'), async (call) => {
    await call.caller.voip.hangUp(call.roomId);
    const [mine, theirs] = await reasons('cancelVoip', call);
    return same([mine.status, theirs.status], ['manual', 'other']);
  });
  await flow('nobody answers for 5 s', () => toUser({ ringTimeout: 5 }), ended('timeout'), (call) => reasons('timeout', call).then(() => ''));
  await flow('a time limit of 1 s', () => toUser({ timeLimit: 1 }), TALK, async (call) => {
    await talk(call);
    const [mine, theirs] = await reasons('hangUpVoip', call);
    return same([mine.origin, theirs.origin, mine.status, theirs.status], ['timeLimit', 'timeLimit', 'endByCaller', 'endByCaller']);
  });
  await flow('forceHangUpVoip in the talk, and not with a strange room', toUser, TALK, async (call) => {
    await talk(call);
    call.listener.voip.forceHangUpVoip('another room');
    same(call.listener.voip.state().phase, 'talking');
    call.listener.voip.forceHangUpVoip(call.roomId);
    const [mine, theirs] = await reasons('hangUpVoip', call);
    return same([mine.origin, theirs.origin], ['other', 'forceFromApp']);
  });
  await flow('forceHangUpVoip before the answer, by the caller', toUser, ended('cancelVoip'), async (call) => {
    call.caller.voip.forceHangUpVoip();
    const [mine, theirs] = await reasons('cancelVoip', call);
    return same([mine.status, theirs.status], ['forceFromApp', 'other']);
  });
  await flow('callWMPF with the push token of the device', async () => {
    const response = await fetch(`/v1/devices/${device.id}/push-token`, { method: 'POST', headers: { Authorization: `Bearer ${device.token}` } });
    const { pushToken } = await response.json();
    const { roomId } = await user.voip.callWMPF({ roomType: 'voice', sn: device.id, modelId: 'demo', pushToken, nickName: user.name });
    return { roomId, caller: user, listener: device };
  }, ended('rejectVoip'), async (call) => {
    const { path } = call.listener.data('incomingCall', call.roomId);
    await call.listener.voip.reject(call.roomId);
    if (!path?.startsWith('/call.html?')) throw new Error(`path: ${path}`);
    return path;
  });
  await check('Calls', 'a second call meanwhile: 1005', async () => {
    const { roomId } = await toUser();
    const { errCode } = await device.voip.initByCaller({ businessType: 1, roomType: 'voice', caller: { id: device.id }, listener: { id: 'x' } });
    await device.voip.hangUp(roomId);
    await device.until('finishVoip', roomId);
    return same(errCode, 1005);
  });
}

/** Several listeners: all ring and one answers, or one after the other. `second` is the other user. */
async function testListeners(check, device, user, second) {
  const group = 'Several listeners';
  const begin = async (strategy, listeners) => {
    const call = { businessType: 1, roomType: 'voice', caller: { id: device.id }, listeners, strategy };
    const { isSuccess, roomId, errMsg } = await device.voip.initByCaller(call);
    if (!isSuccess) throw new Error(errMsg);
    await device.until('joinedRoomByCaller', roomId);
    return roomId;
  };
  const talkAndEnd = async (roomId) => {
    await user.voip.answer(roomId);
    await Promise.all([device, user].map((side) => side.until('startVoip', roomId)));
    same(device.voip.state().peer.id, user.id);
    await device.voip.hangUp(roomId);
    await Promise.all([device, user].map((side) => side.until('finishVoip', roomId)));
    same(user.names(roomId), TALK.listener);
  };
  await check(group, 'all ring, one answers, the other is told', async () => {
    const roomId = await begin('simultaneous', [{ id: second.id }, { id: user.id }]);
    await Promise.all([user, second].map((side) => side.until('callPageOnShow', roomId)));
    await talkAndEnd(roomId);
    await second.until('finishVoip', roomId);
    same(second.data('cancelVoip', roomId).status, 'other');
    return same(second.names(roomId), ['incomingCall', 'callPageOnShow', 'cancelVoip', 'endVoip', 'finishVoip']);
  });
  await check(group, 'the first refuses, the next one rings', async () => {
    const roomId = await begin('sequential', [{ id: second.id }, { id: user.id }]);
    await second.until('callPageOnShow', roomId);
    same(user.names(roomId), []);
    await second.voip.reject(roomId);
    await user.until('callPageOnShow', roomId);
    await talkAndEnd(roomId);
    const rang = device.events.filter((event) => event.eventName === 'listenerChanged' && event.roomId === roomId);
    return same(rang.map(({ data }) => data.listenerId), [second.id, user.id]);
  });
}

/** Frames decoded by one side, once there are some. */
async function pictures(client) {
  for (const until = Date.now() + WAIT_MS; Date.now() < until; ) {
    const stats = await client.voip.stats();
    if (stats?.video.framesDecoded > 10) return stats.video.framesDecoded;
    await new Promise((done) => setTimeout(done, 200));
  }
  throw new Error(`${client.kind}: no picture came`);
}

async function testContacts(check, device, user) {
  const group = 'Contacts and grants';
  await check(group, 'getDeviceVoIPList', async () => {
    const told = [];
    const { list, errMsg } = await user.voip.getDeviceVoIPList({ success: () => told.push('success'), complete: () => told.push('complete') });
    same(errMsg, 'getDeviceVoIPList:ok');
    same(told, ['success', 'complete']);
    return `${list.length} entries`;
  });
  await check(group, 'getIotBindContactList', async () => {
    const { errcode, contact_list: found } = await device.voip.getIotBindContactList({ sn: device.id, model_id: 'demo', openid_list: [user.id] });
    const [entry] = found;
    same([errcode, found.length, entry.openid, entry.sn, entry.model_id], [0, 1, user.id, device.id, 'demo']);
    return JSON.stringify(entry);
  });
  await check(group, 'requestDeviceVoIP with a wrong ticket: 10008, and no question', async () => {
    let asked = 0;
    const { errCode } = await errorOf(() =>
      user.voip.requestDeviceVoIP({ sn: device.id, snTicket: 'wrong', modelId: 'demo', deviceName: 'Door', confirm: () => (asked += 1) }),
    );
    return same([errCode, asked], [10008, 0]);
  });
}
