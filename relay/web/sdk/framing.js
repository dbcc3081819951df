/**
 * Framing: gives a camera's picture the size, ratio and turn a device asked for (the encodeVideo* values of callDevice).
 *
 * The frames go through a canvas: capture constraints are wishes a browser may ignore, and none of them crops to a ratio or
 * turns. What does not fit the ratio is cut off evenly on both sides, nothing is ever stretched. Sizes are multiples of 8,
 * which the small decoders behind these values need.
 */

const STEP = 8; // pixels
const USUAL_FPS = 15; // what such a device gets when it named no maximum

/** encodeVideoRotation: the picture stays turned by 90 degrees counter-clockwise, as phones send it when nobody asks. */
const TURNED = 2;

/** Whether these values {fixedLength, rotation, ratio, maxFPS} need the frames to be drawn anew. */
export function needsFraming({ fixedLength = 0, rotation = 0, ratio = 0 } = {}) {
  return fixedLength > 0 || ratio > 0 || rotation === TURNED;
}

/** The size of the sent picture: `width` and `height` are the camera's. Returns {width, height}. */
export function framedSize({ width, height }, { fixedLength = 0, rotation = 0, ratio = 0 }) {
  const turned = rotation === TURNED;
  const natural = turned ? height / width : width / height;
  const wanted = ratio > 0 ? ratio / 100 : natural;
  const long = fixedLength > 0 ? fixedLength : Math.max(width, height);
  const even = (pixels) => Math.max(STEP, Math.round(pixels / STEP) * STEP);
  return wanted >= 1 ? { width: even(long), height: even(long / wanted) } : { width: even(long * wanted), height: even(long) };
}

export class Framing {
  #source;
  #video = document.createElement('video');
  #canvas = document.createElement('canvas');
  #encode;
  #timer = 0;

  /** `source` is the camera's track; `track` is the one to send. */
  constructor(source, encode) {
    this.#source = source;
    this.#encode = encode;
    this.#video.muted = true;
    this.#video.playsInline = true;
    this.#video.srcObject = new MediaStream([source]);
    this.#video.play().catch(() => {}); // only when the page is going away
    const { width = 640, height = 480 } = source.getSettings();
    Object.assign(this.#canvas, framedSize({ width, height }, encode));
    this.#canvas.getContext('2d'); // a canvas without a context cannot be captured
    [this.track] = this.#canvas.captureStream().getVideoTracks();
    source.addEventListener('ended', () => this.stop());
    // Not requestAnimationFrame, which stops in a page that is covered while the call goes on.
    this.#timer = setInterval(() => this.#draw(), 1000 / (encode.maxFPS || USUAL_FPS));
  }

  /** Ends the sent track; the camera's own is left alone. */
  stop() {
    clearInterval(this.#timer);
    this.track.stop();
    this.#video.srcObject = null;
  }

  #draw() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    if (!width || this.#source.readyState !== 'live') return;
    const size = framedSize({ width, height }, this.#encode);
    if (size.width !== this.#canvas.width || size.height !== this.#canvas.height) Object.assign(this.#canvas, size); // the phone was turned
    const pen = this.#canvas.getContext('2d');
    const turned = this.#encode.rotation === TURNED;
    pen.setTransform(1, 0, 0, 1, size.width / 2, size.height / 2);
    if (turned) pen.rotate(-Math.PI / 2);
    const across = turned ? size.height : size.width;
    const down = turned ? size.width : size.height;
    const scale = Math.max(across / width, down / height);
    pen.drawImage(this.#video, (-width * scale) / 2, (-height * scale) / 2, width * scale, height * scale);
  }
}
