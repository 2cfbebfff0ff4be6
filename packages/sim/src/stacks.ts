/**
 * A campaign's programs meet thousands of errors that they expect, whose stacks nobody reads, and walking the stack is most
 * of what an error costs. A run that fails is run again with stacks.
 */

let users = 0;
let limit = Error.stackTraceLimit;

/** Runs `run`; until its promise has settled, errors that are made have no stack. Runs may overlap. */
export async function withoutStacks<T>(run: () => Promise<T>): Promise<T> {
  if (users++ === 0) {
    limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
  }
  try {
    return await run();
  } finally {
    if (--users === 0) Error.stackTraceLimit = limit;
  }
}
