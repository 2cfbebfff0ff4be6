/** The small ports: timers, randomness, text. */
import type { Random, Text, Timer } from "@selvage/fabric";

/** The longest delay of one `setTimeout`: 24 days. */
const delayMsMax = 2 ** 31 - 1;

/** Timers of this thread's event loop. */
export const systemTimer: Timer = {
  after(delayMs, callback) {
    // Node takes a longer delay for 1 ms.
    let leftMs = delayMs;
    const next = (): void => {
      const stepMs = Math.min(leftMs, delayMsMax);
      leftMs -= stepMs;
      timer = setTimeout(leftMs > 0 ? next : callback, stepMs);
    };
    let timer: NodeJS.Timeout;
    next();
    return () => clearTimeout(timer);
  },
  every(periodMs, callback) {
    const timer = setInterval(callback, periodMs);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** The operating system's randomness. */
export const systemRandom: Random = {
  fill(words) {
    crypto.getRandomValues(words);
  },
};

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** UTF-8. Shared bytes are copied first: the platform's decoder refuses them. */
export const systemText: Text = {
  encode: (text) => encoder.encode(text),
  decode: (bytes) =>
    decoder.decode(bytes.buffer instanceof SharedArrayBuffer ? bytes.slice() : bytes),
};
