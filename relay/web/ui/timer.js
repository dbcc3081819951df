/** Timer: seconds as people read them on a call: 00:07, 12:34, 1:02:03. */

export function clockFace(seconds) {
  const two = (n) => String(n).padStart(2, '0');
  const whole = Math.max(0, Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const face = `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return hours ? `${hours}:${face}` : face;
}
