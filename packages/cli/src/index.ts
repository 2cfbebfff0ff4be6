/**
 * The command `selvage`, for programs that have it inside.
 *
 * @packageDocumentation
 */
export { EXIT_CODES } from "./exit-codes.ts";
export { runCli } from "./program.ts";
export type { Streams } from "./reply.ts";
