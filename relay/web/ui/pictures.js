/**
 * Pictures: the two pictures of a video call, each in a frame, shown as setUIConfig asks.
 *
 * A frame is the window a picture has: the whole stage, or the corner. In it the picture is first turned, then mirrored as the
 * viewer sees it, then fitted: 'fill' covers the frame and is cut off where it sticks out, 'contain' shows the whole
 * picture with bars. `aspectRatio` is the picture's own shape as it is seen. When nobody chose a fit, a lying picture on a
 * standing frame (or the other way round) is shown whole and any other fills its frame.
 */

export class Pictures {
  #root;
  #frames;
  #state = null;

  /** `root` holds `#remote` and `#local`, each a video in an element of class `picture`. */
  constructor(root) {
    this.#root = root;
    this.#frames = ['remote', 'local'].map((name) => {
      const video = root.querySelector(`#${name}`);
      return { name, video, frame: video.closest('.picture') };
    });
    const sized = new ResizeObserver(() => this.#layOut());
    for (const { video, frame } of this.#frames) {
      sized.observe(frame);
      video.addEventListener('resize', () => this.#layOut());
    }
  }

  /** Draws the SDK's state; `swapped` puts the own picture on the whole stage. */
  update(state, swapped) {
    this.#state = state;
    const { phase, roomType, local, cameraOff } = state;
    const own = roomType === 'video' && Boolean(local?.getVideoTracks().length) && !cameraOff;
    const talking = phase === 'talking' && roomType === 'video';
    const before = own && ['calling', 'waiting', 'connecting'].includes(phase);
    this.#root.classList.toggle('own-picture', own);
    this.#root.classList.toggle('swapped', swapped && own);
    const places = {
      remote: !talking ? 'none' : swapped && own ? 'corner' : 'main',
      local: before || (talking && own && swapped) ? 'main' : talking && own ? 'corner' : 'none',
    };
    for (const { name, frame } of this.#frames) frame.dataset.place = places[name];
    this.#layOut();
  }

  #layOut() {
    if (!this.#state) return;
    const { role, ui } = this.#state;
    for (const { name, video, frame } of this.#frames) {
      if (frame.dataset.place === 'none') continue;
      const isCaller = (role === 'caller') === (name === 'local');
      const look = isCaller ? ui.callerUI : ui.listenerUI;
      const corner = frame.dataset.place === 'corner';
      const size = pictureSize(frame, video, corner && look.objectFit === null ? { ...look, objectFit: 'fill' } : look);
      video.style.width = `${size.width}px`;
      video.style.height = `${size.height}px`;
      // Without a wish one's own picture is a mirror's.
      const across = (look.horMirror ?? name === 'local') ? -1 : 1;
      const down = look.vertMirror ? -1 : 1;
      video.style.transform = `translate(-50%, -50%) scale(${across}, ${down}) rotate(${look.cameraRotation}deg)`;
    }
  }
}

/** Width and height of the video element before it is turned. */
function pictureSize({ clientWidth, clientHeight }, { videoWidth, videoHeight }, { cameraRotation, aspectRatio, objectFit }) {
  const turned = cameraRotation % 180 !== 0;
  const natural = videoWidth ? videoWidth / videoHeight : 4 / 3;
  const shape = aspectRatio ?? (turned ? 1 / natural : natural);
  const frame = clientWidth / clientHeight;
  const cover = objectFit === null ? shape >= 1 === frame >= 1 : objectFit === 'fill';
  const byWidth = cover ? shape < frame : shape >= frame;
  const [width, height] = byWidth ? [clientWidth, clientWidth / shape] : [clientHeight * shape, clientHeight];
  return turned ? { width: height, height: width } : { width, height };
}
