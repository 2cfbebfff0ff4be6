/**
 * Inside a simulation, time, randomness and timers of the host are not to be had: a program that took them would run
 * differently each time. What is called by mistake throws, and says what to use instead.
 *
 * G1: the guard holds for code that a run has called, however far `async` calls have led it, and for nothing else in the
 * process: a test runner goes on reading its clock.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { createRequire, syncBuiltinESMExports } from "node:module";
import { FabricError } from "@selvage/fabric";

const inside = new AsyncLocalStorage<true>();
const require = createRequire(import.meta.url);

type Bag = Record<string, unknown>;

/** What is taken away: where it is, its names, and what a program has instead. */
const forbidden: readonly (readonly [() => object, readonly string[], string])[] = [
  [
    () => globalThis,
    ["setTimeout", "setInterval", "setImmediate"],
    "the node's `timer`, or `sleep`",
  ],
  [() => Date, ["now"], "the node's `clock`"],
  [() => Math, ["random"], "the node's `random`"],
  [() => performance, ["now"], "the node's `clock`"],
  [() => process, ["hrtime", "uptime"], "the node's `clock`"],
  [() => crypto, ["getRandomValues", "randomUUID"], "the node's `random`"],
  [() => globalThis, ["fetch"], "the node's `send` and `listen`"],
  [() => builtin("node:timers"), ["setTimeout", "setInterval", "setImmediate"], "`timer`"],
  [() => builtin("node:timers/promises"), ["setTimeout", "setInterval", "setImmediate"], "`sleep`"],
  [
    () => builtin("node:crypto"),
    ["randomBytes", "randomInt", "randomUUID", "randomFill", "randomFillSync"],
    "the node's `random`",
  ],
  [
    () => builtin("node:fs"),
    ["open", "openSync", "readFile", "readFileSync", "writeFile", "writeFileSync"],
    "the node's `disk`",
  ],
  [
    () => builtin("node:fs/promises"),
    ["open", "readFile", "writeFile", "appendFile"],
    "the node's `disk`",
  ],
  [() => builtin("node:worker_threads"), ["Worker"], "functions: in a simulation they run inline"],
  [() => globalThis, ["FinalizationRegistry", "WeakRef"], "`using`, or a lease"],
];

function builtin(name: string): object {
  return require(name) as object;
}

let users = 0;
let restore: (() => void)[] = [];

/** Runs `run` as a simulation: until its promise has settled, the host is out of reach (G1). */
export async function guarded<T>(run: () => Promise<T>): Promise<T> {
  if (users++ === 0) install();
  try {
    return await inside.run(true, run);
  } finally {
    if (--users === 0) uninstall();
  }
}

/** Runs `run` outside of any simulation: what the simulator itself asks of the host. */
export function unguarded<T>(run: () => T): T {
  return inside.exit(run);
}

function install(): void {
  for (const [find, names, instead] of forbidden) {
    const owner = find() as Bag;
    for (const name of names) take(owner, name, instead);
  }
  takeDate();
  syncBuiltinESMExports();
}

function uninstall(): void {
  for (const put of restore.toReversed()) put();
  restore = [];
  syncBuiltinESMExports();
}

function take(owner: Bag, name: string, instead: string): void {
  const own = Object.getOwnPropertyDescriptor(owner, name);
  const original = owner[name];
  if (typeof original !== "function" || own?.configurable === false) return;
  const guard = new Proxy(original, {
    apply(target, self, args: unknown[]): unknown {
      check(name, instead);
      return Reflect.apply(target, self, args);
    },
    construct(target, args: unknown[], newTarget): object {
      check(name, instead);
      return Reflect.construct(target, args, newTarget === guard ? target : newTarget) as object;
    },
  });
  Object.defineProperty(owner, name, { configurable: true, writable: true, value: guard });
  restore.push(() => {
    if (own === undefined) delete owner[name];
    else Object.defineProperty(owner, name, own);
  });
}

// `new Date()` reads the clock; `new Date(0)` does not.
function takeDate(): void {
  const own = Object.getOwnPropertyDescriptor(globalThis, "Date") as PropertyDescriptor;
  const original = Date;
  const guard: DateConstructor = new Proxy(original, {
    apply(target, self, args): unknown {
      check("Date", "the node's `clock`");
      return Reflect.apply(target, self, args);
    },
    construct(target, args: unknown[], newTarget): object {
      if (args.length === 0) check("new Date", "the node's `clock`");
      return Reflect.construct(target, args, newTarget === guard ? target : newTarget) as object;
    },
  });
  Object.defineProperty(globalThis, "Date", { ...own, value: guard });
  restore.push(() => void Object.defineProperty(globalThis, "Date", own));
}

function check(name: string, instead: string): void {
  if (inside.getStore() === undefined) return;
  throw new FabricError(
    "UNSUPPORTED",
    `Cannot use ${name} in a simulation: it would differ from run to run; use ${instead}`,
    { name },
  );
}
