/** What the program counts in: several blocks of text that say the count again, so that a mixture of two shows. */
export interface Counted {
  readonly count: number;
  readonly bulk: string;
}

/** The text of a count: 2,000 characters. */
export function bulkOf(count: number): string {
  return `${count}.`.repeat(2_000).slice(0, 2_000);
}
