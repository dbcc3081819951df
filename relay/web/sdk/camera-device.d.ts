/** Types of camera-device.js. */

/** `<camera-device sn model-id device-name video-quality-list room base-url token lang>`. */
export class CameraDevice extends HTMLElement {
  readonly state: 'loading' | 'live' | 'error';
  /** At most five; default 360P, 480P, 720P, 1080P, 4K. */
  videoQualityList: string[];
  token: string | (() => string | Promise<string>) | null;
  retry(): void;
  addEventListener(
    type: 'changeQuality',
    listener: (event: CustomEvent<{ index: number }>) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject, options?: boolean | AddEventListenerOptions): void;
}

declare global {
  interface HTMLElementTagNameMap {
    'camera-device': CameraDevice;
  }
}
