/** Names and messages are the caller's, and may hold anything: made readable here, and harmless where they are shown. */

// C0 and C1 controls, halves of surrogate pairs, what turns the direction of writing, and invisible marks of lines.
const unreadable =
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  /[\u0000-\u001F\u007F-\u009F\u2028\u2029\u200E\u200F\u202A-\u202E\u2066-\u2069\uFEFF]|\p{Surrogate}/gu;

/** The text, with a visible sign for everything that is none: a line break is `↵`. */
export function visible(text: string): string {
  return text.replaceAll(unreadable, (character) => {
    const code = character.codePointAt(0) as number;
    if (character === "\n" || code === 0x2028 || code === 0x2029) return "↵";
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? "␡" : "\uFFFD";
  });
}

/** At most `max` characters of the text, which is made visible; what was cut is told by `…`. */
export function shortened(text: string, max: number): string {
  // No more is looked at than may be shown: an error's message can be megabytes.
  const characters = Array.from(visible(text.slice(0, 4 * max + 4)));
  return characters.length <= max
    ? characters.join("")
    : `${characters.slice(0, max - 1).join("")}…`;
}

/** For the content and the attributes of HTML and SVG. */
export function escaped(text: string): string {
  return visible(text).replaceAll(/[&<>"'`]/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A number of milliseconds, for people. */
export function formatMs(ms: number): string {
  if (ms < 1_000) return `${Number(ms.toFixed(ms < 10 ? 1 : 0))} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const minutes = Math.floor(ms / 60_000);
  return `${minutes} min ${Math.round((ms - minutes * 60_000) / 1_000)} s`;
}

const dayMs = 86_400_000;

/** A moment, given in milliseconds since the Unix epoch, as date and time in UTC. */
export function formatUtc(atMs: number): string {
  const days = Math.floor(atMs / dayMs);
  const seconds = Math.floor((atMs - days * dayMs) / 1_000);
  // Years begin in March here, so that a leap day is a year's last. 719,468 days are from 0000-03-01 to 1970-01-01; 400
  // years always have 146,097.
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const day = shifted - era * 146_097;
  const year = Math.floor(
    (day - Math.floor(day / 1_460) + Math.floor(day / 36_524) - Math.floor(day / 146_096)) / 365,
  );
  const dayOfYear = day - (365 * year + Math.floor(year / 4) - Math.floor(year / 100));
  const month = Math.floor((5 * dayOfYear + 2) / 153);
  const date = [
    era * 400 + year + (month >= 10 ? 1 : 0),
    month < 10 ? month + 3 : month - 9,
    dayOfYear - Math.floor((153 * month + 2) / 5) + 1,
  ];
  const time = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  return `${date.map(twoDigits).join("-")} ${time.map(twoDigits).join(":")} UTC`;
}

function twoDigits(part: number): string {
  return String(part).padStart(2, "0");
}

const units = ["bytes", "KiB", "MiB", "GiB", "TiB"] as const;

/** A number of bytes, for people. */
export function formatBytes(bytes: number): string {
  let unit = 0;
  let amount = bytes;
  while (amount >= 1_024 && unit < units.length - 1) {
    amount /= 1_024;
    unit++;
  }
  return `${Number(amount.toFixed(amount < 10 ? 1 : 0))} ${units[unit]}`;
}

/** A whole number, with its thousands apart. */
export function formatCount(count: number): string {
  return String(count).replaceAll(/\B(?=(\d{3})+$)/g, ",");
}

/** `1 task`, `2 tasks`. */
export function counted(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** What an error says: its code, where it has one, and its message. Never throws, whatever was thrown. */
export function describeFailure(error: unknown): string {
  try {
    if (typeof error !== "object" || error === null) return String(error);
    const { code, name, message } = error as { code?: unknown; name?: unknown; message?: unknown };
    if (typeof message !== "string") return JSON.stringify(error) ?? "an object";
    const kind = typeof code === "string" ? code : name;
    return typeof kind === "string" && kind !== "Error" ? `${kind}: ${message}` : message;
  } catch {
    return "an error that cannot be read";
  }
}
