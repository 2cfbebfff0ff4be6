/** How the command ends. */

/** Exit codes of `selvage`. They are stable within a major. */
export const EXIT_CODES = {
  /** It did what was asked, and that went well. A worker: it finished all that it had claimed. */
  ok: 0,
  /** What was run has failed, or could not be run. */
  failed: 1,
  /** What was typed is no command of this program. */
  usage: 2,
  /** A worker: it was told to end, and handed back jobs that it had not finished in time. */
  handedBack: 3,
} as const;
