/** Claims: what a JWT says, unverified (that is the node's work). Without atob and TextDecoder, which mini programs lack. */

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** The claims of `token`; {} when it is no JWT. */
export function claimsOf(token) {
  try {
    const claims = JSON.parse(decodeBase64Url(token.split('.')[1]));
    return claims !== null && typeof claims === 'object' ? claims : {};
  } catch {
    return {};
  }
}

function decodeBase64Url(text) {
  let bits = 0;
  let held = 0;
  let escaped = '';
  for (const letter of text) {
    const value = ALPHABET.indexOf(letter);
    if (value < 0) throw new SyntaxError('no base64url');
    held = ((held << 6) | value) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    escaped += `%${((held >> bits) & 0xff).toString(16).padStart(2, '0')}`;
  }
  return decodeURIComponent(escaped);
}
