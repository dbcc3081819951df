/**
 * Types of wmpf-voip.js: the WMPF VoIP plugin's interface on this relay. What is not marked "addition" has the plugin's names,
 * shapes and defaults; requestDeviceVoIP and getDeviceVoIPList have those of `wx`.
 */

export type RoomType = 'voice' | 'video';
export type ChargeType = 'duration' | 'license';
/** 0 is on, 1 is off. */
export type CameraStatus = 0 | 1;
export type PartyKind = 'device' | 'user';

// --- calling ---

export interface Party {
  /** The device's SN or the user's openid. */
  id: string;
  /** Shown name; ignored where the id is an SN, whose authorised name is shown instead. */
  name?: string;
  /** Default 0, on. */
  cameraStatus?: CameraStatus;
}

export interface ListedParty extends Party {
  /** Seconds this one rings, 5 to 300; default that of the call. */
  ringTimeout?: number;
}

interface CallOptions {
  roomType: RoomType;
  /** Longest talk in seconds, above 0, counted from startVoip. */
  timeLimit?: number;
  /** Such as 'a=1&b=2'; appended to the query of the called side's call page. */
  customQuery?: string;
  /** Addition: seconds it rings, 5 to 300; default 60. */
  ringTimeout?: number;
}

interface InitByCallerBase extends CallOptions {
  /** 1: device calls user, on a device. 2: user calls device, in a user's client. 0 and 3 are refused with 1011. Default 0. */
  businessType?: 0 | 1 | 2 | 3;
  caller: Party;
  /** Mode 1: the device token, may be left out. Mode 2: the device's push token, required. */
  voipToken?: string;
  /** Default 'formal'. */
  miniprogramState?: 'formal' | 'trial' | 'developer';
}

export interface InitByCallerToOne extends InitByCallerBase {
  listener: Party;
}

/** Addition: several listeners, one after another or all at once. */
export interface InitByCallerToMany extends InitByCallerBase {
  /** 1 to 16. */
  listeners: ListedParty[];
  /** Default 'sequential'. */
  strategy?: 'sequential' | 'simultaneous';
}

export type InitByCallerRequest = InitByCallerToOne | InitByCallerToMany;

export interface InitByCallerSuccess {
  isSuccess: true;
  roomId: string;
  /** The same as roomId. */
  groupId: string;
  chargeType: ChargeType;
}

export interface InitByCallerRefusal {
  isSuccess: false;
  errCode: number;
  errMsg: string;
  errObj: VoipError;
  /** @deprecated */
  error: { err_code: string; errMsg: string };
}

export type InitByCallerResult = InitByCallerSuccess | InitByCallerRefusal;

interface ToDeviceRequest extends CallOptions {
  sn: string;
  modelId: string;
  deviceName?: string;
  /** Default 'license'. */
  chargeType?: ChargeType;
  /** Default true. */
  enableCallerCamera?: boolean;
  /** Default true. */
  enableListenerCamera?: boolean;
}

export interface CallWMPFRequest extends ToDeviceRequest {
  pushToken: string;
  nickName: string;
  /** Default 'release'. */
  envVersion?: 'release' | 'trial' | 'develop';
}

export interface CallDeviceRequest extends ToDeviceRequest {
  nickName?: string;
  /** True for devices behind a cloud: their server is asked. Default false. */
  isCloud?: boolean;
  /** Handed through to that server. */
  payload?: string;
  /** Long side of the picture this side sends; 0 is not set, the default. */
  encodeVideoFixedLength?: 0 | 320 | 480 | 640;
  /** 1 upright, 2 stays turned by 90 degrees counter-clockwise; 0 is not set, the default. */
  encodeVideoRotation?: 0 | 1 | 2;
  /** Width / height * 100 of the sent picture, a whole number; 0 is not set, the default. */
  encodeVideoRatio?: number;
  /** Frames per second, 8 to 15; 0 is not set, the default. */
  encodeVideoMaxFPS?: number;
}

export interface CallResult {
  roomId: string;
}

// --- events ---

type Origin = 'manual' | 'unloadCallPage' | 'forceFromApp';
type Nothing = Record<string, never>;

export interface EndVoipData {
  keepTime: number;
  callerName: string;
  listenerName: string;
  roomType: RoomType;
  isCaller: boolean;
  businessType?: number;
}

/** `data` of every event, by its name. */
export interface VoipEventData {
  callPageOnShow: Nothing;
  joinedRoomByCaller: Nothing;
  joinFailCaller: { errMsg: string; retrying?: boolean };
  joinFailListener: { errMsg: string; retrying?: boolean };
  hangOnVoip: Nothing;
  startVoip: { startTime?: number };
  /** Each second of the talk. */
  calling: { keepTime: number };
  busy: Nothing;
  timeout: Nothing;
  /** errCode and errMsg: addition, why a cloud device's call was cancelled. */
  cancelVoip: { status: Origin | 'other'; errCode?: number; errMsg?: string };
  rejectVoip: { status: Origin | 'other' | 'busy' };
  hangUpVoip: { keepTime: number; status: 'endByCaller' | 'endByListener'; origin: Origin | 'other' | 'timeLimit' };
  abortVoip: { keepTime: number; status: 'abortByCaller' | 'abortByListener' | 'unknown'; error: { errMsg: string } };
  endVoip: EndVoipData;
  finishVoip: { keepTime: number };
  showCustomBox: { callerId: string; listenerId: string };
  hideCustomBox: { callerId: string; listenerId: string };
  /** Addition: the ring notice of the called side. */
  incomingCall: IncomingCallData;
  /** Addition, on a caller with several listeners: the next one rings, or this one answered. */
  listenerChanged: { listenerId: string; listenerName: string; index: number };
  /** Addition, on a device: a message of the operator's server. */
  appMessage: { message: string };
}

export interface IncomingCallData {
  roomType: RoomType;
  callerId: string;
  callerName: string;
  callerKind?: PartyKind;
  callerCameraStatus: CameraStatus;
  listenerId: string;
  listenerName: string;
  listenerKind?: PartyKind;
  listenerCameraStatus: CameraStatus;
  query: string;
  ringTimeout: number;
  timeLimit?: number | null;
  businessType?: number;
  callerProfile?: UIConfig | null;
  listenerProfile?: UIConfig | null;
  encodeVideo?: { fixedLength: number; rotation: number; ratio: number; maxFPS: number };
  /** On devices, as in the plugin's push message. */
  path?: string;
  appType?: 0 | 1 | 2;
  appid?: string;
}

export type VoipEventName = keyof VoipEventData;

/** One event; `seq`, `timestamp` (Unix ms of the node) and `reason` are additions, missing on those this side makes itself. */
export type VoipEvent = {
  [Name in VoipEventName]: {
    eventName: Name;
    roomId: string;
    /** The same as roomId. */
    groupId: string;
    data: VoipEventData[Name];
    seq?: number;
    timestamp?: number;
    reason?: string;
  };
}[VoipEventName];

export type Off = () => void;

// --- the call page ---

export interface UIConfig {
  /** Turns the picture clockwise. Default 0. */
  cameraRotation?: 0 | 90 | 180 | 270;
  /** Width to height of the picture as it is seen. Default: the picture's own, 4/3 for the plugin's cameras. */
  aspectRatio?: number;
  /** Default false; one's own picture is shown as in a mirror until this is set. */
  horMirror?: boolean;
  /** Default false. */
  vertMirror?: boolean;
  /** Whether this role may switch its camera off and on. Default true. */
  enableToggleCamera?: boolean;
  /** 'fill' covers the screen, 'contain' shows all of the picture. Default 'fill', but all of a picture that lies across. */
  objectFit?: 'fill' | 'contain';
}

export interface VoipUIConfig {
  btnText?: string;
  /** For the picture of the caller, whoever that is. */
  callerUI?: UIConfig;
  listenerUI?: UIConfig;
  /** Speaker on, devices only. Default true. */
  handsFree?: boolean;
  /** Default false. */
  isSelfWindowMax?: boolean;
  /** '1vh' to '100vh'. Default '90vh'. */
  customBoxHeight?: string;
}

export interface EndPageOptions {
  url: string;
  key: 'Call' | 'BindContact';
  /** Query string. */
  options?: string;
  /** Default 'redirectTo'. */
  routeType?: 'redirectTo' | 'switchTab' | 'reLaunch';
}

export interface EndPage extends Required<EndPageOptions> {
  /** `url?options`. */
  address: string;
}

export interface EnterOptions {
  path: string;
  query: Record<string, string>;
  scene: number;
  [more: string]: unknown;
}

// --- contacts and grants ---

export interface ContactListRequest {
  sn: string;
  model_id: string;
  openid_list: string[];
}

export interface ContactList {
  errcode: number;
  errmsg: string;
  /** status: 0 not authorised, 1 authorised. */
  contact_list: { openid: string; sn: string; model_id: string; status: 0 | 1 }[];
}

/** The question put to the person, in the person's language. */
export interface GrantQuestion {
  name: string;
  isGroup: boolean;
  title: string;
  content: string;
  confirmText: string;
  cancelText: string;
}

/** Addition: shows the question; true agrees, false refuses (which is remembered), null decides nothing. */
export type Confirm = (question: GrantQuestion) => boolean | null | Promise<boolean | null>;

export interface Callbacks<Result> {
  success?: (result: Result) => void;
  fail?: (error: VoipError) => void;
  complete?: (outcome: Result | VoipError) => void;
}

export interface DeviceGrantOptions extends Callbacks<GrantResult> {
  isGroup?: false;
  sn: string;
  snTicket: string;
  modelId: string;
  /** At most 13 characters. */
  deviceName: string;
  confirm?: Confirm;
}

export interface GroupGrantOptions extends Callbacks<GrantResult> {
  isGroup: true;
  groupId: string;
  confirm?: Confirm;
}

export interface GrantResult {
  errMsg: 'requestDeviceVoIP:ok';
  grantId: string | null;
  status: 0 | 1;
  state: string;
  name: string;
}

export interface GrantEntry {
  /** Missing for a group, which has only group_id. */
  sn?: string;
  model_id?: string;
  group_id?: string;
  /** 0 refused or switched off, 1 authorised. */
  status: 0 | 1;
  /** Addition. */
  grant_id: string;
  /** Addition. */
  device_name?: string;
}

export interface GrantList {
  errMsg: 'getDeviceVoIPList:ok';
  list: GrantEntry[];
}

// --- errors ---

export interface VoipErrorOptions {
  cause?: unknown;
  httpStatus?: number;
  retryAfter?: number | null;
}

/** Base of all errors of the plugin. */
export class VoipError extends Error {
  constructor(errMsg: string, errCode: number, options?: VoipErrorOptions);
  errMsg: string;
  errCode: number;
  /** The same as errCode. */
  errno: number;
  cause?: unknown;
  /** Addition: 0 when no answer came. */
  httpStatus: number;
  /** Addition: seconds to wait, where the node told. */
  retryAfter: number | null;
}

/** The backend refused. */
export class VoipCgiError extends VoipError {}

/** Joining the room failed. */
export class VoipJoinError extends VoipError {
  constructor(errMsg: string, errCode: number, options?: VoipErrorOptions & { extErrMsg?: string; errType?: number });
  extErrMsg: string;
  errType: number;
}

/** Everything else in the plugin. */
export class VoipPluginError extends VoipError {}

// --- additions: connection, state, media ---

/** An application's own media for one call; what leg.js is in a browser. Streams may be whatever the application shows. */
export interface Media<Stream = MediaStream> {
  readonly muted: boolean;
  readonly cameraOff: boolean;
  readonly notices: string[];
  open(
    settings: {
      video: boolean;
      cameraOff: boolean;
      facingMode: 'user' | 'environment';
      encode: { fixedLength: number; rotation: number; ratio: number; maxFPS: number };
      baseUrl: string;
    },
    hooks: {
      onLocal(stream: Stream): void;
      onRemote(stream: Stream): void;
      onState(state: 'connecting' | 'connected' | 'broken' | 'failed' | 'closed'): void;
    },
  ): Promise<void> | void;
  /** Connects with a single-use credential: POST /v1/calls/{roomId}/legs. May be called again. */
  join(roomId: string, credential: string): Promise<void> | void;
  setMuted(muted: boolean): void;
  setCameraOff?(off: boolean): Promise<void> | void;
  /** Ends capture at once; close follows when the node knows of the end. */
  silence(): void;
  close(): void;
  stats?(): Promise<Stats | null>;
  permitted?(wanted: { camera: boolean }): Promise<boolean>;
}

export interface ConnectOptions {
  /** Address of the node; default this page's. */
  baseUrl?: string;
  token: string | (() => string | Promise<string>);
  /** Needed when the token is not a JWT that tells it. */
  kind?: PartyKind | '';
  id?: string;
  name?: string;
  /** Which camera. Default 'user'. */
  facingMode?: 'user' | 'environment';
  /** Where the runtime has none. */
  WebSocket?: unknown;
  media?: Media<any> | (() => Media<any> | null);
  /** Takes the place of the built-in dialog of requestDeviceVoIP. */
  confirm?: Confirm;
  /** Takes the place of the jump to the end page. */
  navigate?: (page: EndPage) => void;
}

export type Phase = 'idle' | 'calling' | 'waiting' | 'ringing' | 'connecting' | 'talking' | 'ended';

/** A UIConfig with every field; null leaves the choice to the call page. */
export interface Picture {
  cameraRotation: 0 | 90 | 180 | 270;
  aspectRatio: number | null;
  horMirror: boolean | null;
  vertMirror: boolean;
  enableToggleCamera: boolean;
  objectFit: 'fill' | 'contain' | null;
}

export interface State {
  link: 'online' | 'connecting' | 'offline';
  /** Why the node refuses the token, while it does so after a connect() that succeeded. */
  linkFailure: VoipError | null;
  kind: PartyKind | '';
  self: { id: string; name: string };
  phase: Phase;
  roomId: string | null;
  role: 'caller' | 'listener' | null;
  roomType: RoomType | null;
  peer: { id: string; name: string; cameraStatus?: CameraStatus } | null;
  callerId: string | null;
  listenerId: string | null;
  /** Seconds talked. */
  keepTime: number;
  path: 'none' | 'connecting' | 'connected' | 'broken' | 'failed';
  muted: boolean;
  cameraOff: boolean;
  notices: string[];
  /** The first ending event. */
  end: { eventName: string; data: Record<string, unknown>; reason?: string } | null;
  failure: VoipError | null;
  summary: EndVoipData | null;
  bill: { keepTime: number } | null;
  /** Null without media of its own. */
  local: MediaStream | null;
  remote: MediaStream | null;
  customBoxOpen: boolean;
  /** What the call page has to look like: settings over stored profiles over defaults. */
  ui: { btnText: string; callerUI: Picture; listenerUI: Picture; handsFree: boolean; isSelfWindowMax: boolean; customBoxHeight: string };
  endPage: EndPage | null;
}

/** One reading of the media connection; see stats.js for every member. */
export interface Stats {
  video: Record<string, number | string | null>;
  audio: Record<string, number | string | null>;
  sent: { video: Record<string, number | string | null>; audio: Record<string, number | string | null> };
  rtt: number | null;
  loss: number | null;
  connection: string;
}

// --- the client ---

export interface Voip {
  readonly CALL_PAGE_PATH: string;
  /** Wrong parameters are thrown (1004); every other refusal resolves with isSuccess false. */
  initByCaller(req: InitByCallerRequest): Promise<InitByCallerResult>;
  /** Throws a VoipError on any failure. */
  callWMPF(req: CallWMPFRequest): Promise<CallResult>;
  /** Throws a VoipError on any failure. */
  callDevice(req: CallDeviceRequest): Promise<CallResult>;
  /** Ends the present call; with a room id only that one. */
  forceHangUpVoip(roomId?: string): void;
  /** A second registration of the same function is ignored. */
  onVoipEvent(listener: (event: VoipEvent) => void): Off;
  setUIConfig(config: VoipUIConfig): void;
  setCustomBtnText(text: string): void;
  setVoipEndPagePath(opts: EndPageOptions): void;
  getIotBindContactList(req: ContactListRequest): Promise<ContactList>;
  getPluginEnterOptions(): EnterOptions;
  getPluginOnloadOptions(): Record<string, string>;
  /** Not offered: rejects with 1011, as do the next four. */
  bindVoipAdminContact(req?: { userId: string }): Promise<never>;
  /** Throws 1011. */
  getBindContactPath(req?: { userId: string; userName: string; userAvatar: string }): never;
  getVoipBindContactList(req?: { userId: string }): Promise<never>;
  deleteVoipBindContact(req?: { userId: string; openidList: string[] }): Promise<never>;
  transerAdmin(req?: { userId: string; newAdminOpenid: string }): Promise<never>;
  /** 10001 given already (treat as success), 10021 refused, 10008 bad ticket, 1008 put off. */
  requestDeviceVoIP(opts: DeviceGrantOptions | GroupGrantOptions): Promise<GrantResult>;
  getDeviceVoIPList(opts?: Callbacks<GrantList>): Promise<GrantList>;

  // Additions
  /** After a refusal: lets the question be shown again. */
  reopenGrant(target: string | { grantId: string } | { sn: string } | { groupId: string }): Promise<{ grantId: string; state: string }>;
  connect(options: ConnectOptions): Promise<void>;
  close(): void;
  answer(roomId?: string): Promise<void>;
  reject(roomId?: string): Promise<void>;
  /** Cancels, refuses or hangs up, as the phase asks. */
  hangUp(roomId?: string): Promise<void>;
  /** Takes part in a room this party belongs to already. */
  join(roomId: string): Promise<void>;
  setMuted(muted: boolean): void;
  setCameraOff(off: boolean): Promise<void>;
  /** For call pages: the half screen was opened or closed. */
  setCustomBox(open: boolean): void;
  /** For call pages: goes to the page of setVoipEndPagePath; false when none was set. */
  leaveCallPage(): boolean;
  stats(): Promise<Stats | null>;
  state(): State;
  onState(listener: (state: State) => void): Off;
}

export const CALL_PAGE_PATH: string;
/** A new, unconnected client. */
export function createVoip(): Voip;
declare const voip: Voip;
export default voip;
