/** What the doctor finds. */

/** How it stands. */
export type Health = "ok" | "warning" | "failed";

/** One thing that was looked at. */
export interface Finding {
  readonly status: Health;
  /** What was looked at: `node`, `node:sqlite`, or a path. */
  readonly about: string;
  /** What was found, for people. */
  readonly what: string;
  /** What can be done. */
  readonly hint?: string;
  /** Figures of it. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** The worst of them. */
export function worst(findings: readonly Finding[]): Health {
  const has = (status: Health): boolean => findings.some((finding) => finding.status === status);
  return has("failed") ? "failed" : has("warning") ? "warning" : "ok";
}
