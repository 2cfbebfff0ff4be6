/** What a mutant is. */

/** One broken rule: a text that stands once in a source file, and what stands there instead. */
export interface Mutant {
  readonly name: string;
  /** The invariant that it breaks. */
  readonly rule: string;
  /** The campaign that must find it. */
  readonly campaign: string;
  /** From the root of the repository. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** Makes mutants of one campaign. */
export function mutantsOf(campaign: string) {
  return (rule: string, name: string, file: string, find: string, replace: string): Mutant => ({
    name,
    rule,
    campaign,
    file,
    find,
    replace,
  });
}
