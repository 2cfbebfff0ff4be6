export { RandomStream } from "./random.ts";
export type { Detail, Occurrence } from "./trace.ts";
