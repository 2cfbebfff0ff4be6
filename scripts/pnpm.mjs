/** The package manager, pinned, as npx names it. */
export const PNPM = "pnpm@12.21.0";
