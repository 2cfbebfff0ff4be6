/** IATA airport codes as numbers: three letters A to Z are a number below 26³, so a column of them takes two bytes a row. */

/** How many codes there are. */
export const AIRPORT_CODES: number = 26 ** 3;

const letterA = 0x41;
const noCode = -1;

/** The number of three ASCII bytes; -1 if they are not three letters A to Z. */
export function codeOfBytes(bytes: Uint8Array): number {
  if (bytes.length !== 3) return noCode;
  let code = 0;
  for (const byte of bytes) {
    const letter = byte - letterA;
    if (letter < 0 || letter > 25) return noCode;
    code = code * 26 + letter;
  }
  return code;
}

/** The number of a code as text; -1 if it is none. */
export function codeOf(iata: string): number {
  // What is beyond ASCII must not be cut down to a byte that is a letter.
  const bytes = Uint8Array.from(iata, (letter) => Math.min(letter.charCodeAt(0), 0xff));
  return codeOfBytes(bytes);
}

/** The three letters of a number. */
export function iataOf(code: number): string {
  const letters = [Math.floor(code / 676), Math.floor(code / 26) % 26, code % 26];
  return String.fromCharCode(...letters.map((letter) => letterA + letter));
}
