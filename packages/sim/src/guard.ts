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

/** Of a module whose every function reaches the host: classes and constants have names with capitals. */
const ALL = "all";

/** What is taken away: where it is, its names, and what a program has instead. */
const forbidden: readonly (readonly [() => object, readonly string[] | typeof ALL, string])[] = [
  [
    () => globalThis,
    ["setTimeout", "setInterval", "setImmediate"],
    "the node's `timer`, or `sleep`",
  ],
  [() => AbortSignal, ["timeout"], "the node's `timer`, and an `AbortController`"],
  [() => Date, ["now"], "the node's `clock`"],
  [() => Math, ["random"], "the node's `random`"],
  [() => performance, ["now", "mark", "measure", "toJSON"], "the node's `clock`"],
  // Before the function that it belongs to.
  [() => process.hrtime, ["bigint"], "the node's `clock`"],
  [() => process, ["hrtime", "uptime", "cpuUsage"], "the node's `clock`"],
  [() => builtin("node:os"), ["uptime"], "the node's `clock`"],
  [() => Intl.DateTimeFormat.prototype, ["formatToParts"], "the node's `clock`"],
  [() => crypto, ["getRandomValues", "randomUUID"], "the node's `random`"],
  [() => crypto.subtle, ["generateKey"], "the node's `random`"],
  [() => globalThis, ["fetch"], "the node's `send` and `listen`"],
  [() => globalThis, ["MessageChannel"], "the node's `send` and `listen`"],
  [() => Atomics, ["wait", "waitAsync"], "the words of the node's `memory`"],
  [() => builtin("node:timers"), ["setTimeout", "setInterval", "setImmediate"], "`timer`"],
  [() => builtin("node:timers/promises"), ["setTimeout", "setInterval", "setImmediate"], "`sleep`"],
  [() => schedulerOf(builtin("node:timers/promises")), ["wait", "yield"], "`sleep`"],
  [
    () => builtin("node:crypto"),
    [
      "randomBytes",
      "pseudoRandomBytes",
      "randomInt",
      "randomUUID",
      "randomFill",
      "randomFillSync",
      "getRandomValues",
      "generateKey",
      "generateKeySync",
      "generateKeyPair",
      "generateKeyPairSync",
      "generatePrime",
      "generatePrimeSync",
    ],
    "the node's `random`",
  ],
  [() => builtin("node:fs"), ALL, "the node's `disk`"],
  [() => builtin("node:fs/promises"), ALL, "the node's `disk`"],
  [() => builtin("node:child_process"), ALL, "another node"],
  [
    () => builtin("node:net"),
    ["connect", "createConnection", "createServer"],
    "the node's `send` and `listen`",
  ],
  [() => builtin("node:worker_threads"), ["Worker"], "functions: in a simulation they run inline"],
  [() => globalThis, ["FinalizationRegistry", "WeakRef"], "`using`, or a lease"],
];

function schedulerOf(timers: object): object {
  return (timers as { readonly scheduler: object }).scheduler;
}

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
    for (const name of names === ALL ? functionsOf(owner) : names) take(owner, name, instead);
  }
  takeDate();
  takeGetter(performance, "timeOrigin", () => check("timeOrigin", "the node's `clock`"));
  takeFormat();
  syncBuiltinESMExports();
}

function uninstall(): void {
  for (const back of restore.toReversed()) back();
  restore = [];
  syncBuiltinESMExports();
}

function functionsOf(owner: Bag): readonly string[] {
  return Object.entries(Object.getOwnPropertyDescriptors(owner))
    .filter(([name, { value }]) => typeof value === "function" && /^[a-z]/.test(name))
    .map(([name]) => name);
}

// Made once: a campaign installs the guard for each of its runs.
const guards = new WeakMap<object, object>();

function guardOf(original: object, name: string, instead: string): object {
  const known = guards.get(original);
  if (known !== undefined) return known;
  const guard: object = new Proxy(original as (...args: unknown[]) => unknown, {
    apply(target, self, args: unknown[]): unknown {
      // Without a date to format it takes the time that it is.
      if (name !== "formatToParts" || args[0] === undefined) check(name, instead);
      return Reflect.apply(target, self, args);
    },
    construct(target, args: unknown[], newTarget): object {
      check(name, instead);
      return Reflect.construct(target, args, newTarget === guard ? target : newTarget) as object;
    },
  });
  guards.set(original, guard);
  return guard;
}

function take(owner: Bag, name: string, instead: string): void {
  const own = Object.getOwnPropertyDescriptor(owner, name);
  const original = owner[name];
  if (typeof original !== "function" || own?.configurable === false) return;
  const value = guardOf(original, name, instead);
  Object.defineProperty(owner, name, {
    configurable: true,
    writable: true,
    enumerable: own?.enumerable ?? false,
    value,
  });
  restore.push(() => put(owner, name, own));
}

function put(owner: object, name: string, own: PropertyDescriptor | undefined): void {
  if (own === undefined) Reflect.deleteProperty(owner, name);
  else Object.defineProperty(owner, name, own);
}

/** Calls `look` before each reading of a property, and gives what `wrap` makes of what was read. */
function takeGetter(
  owner: object,
  name: string,
  look: () => void,
  wrap: (value: unknown) => unknown = (value) => value,
): void {
  const own = Object.getOwnPropertyDescriptor(owner, name);
  const getter =
    own ?? Object.getOwnPropertyDescriptor(Object.getPrototypeOf(owner) as object, name);
  if (getter?.get === undefined || own?.configurable === false) return;
  Object.defineProperty(owner, name, {
    configurable: true,
    enumerable: getter.enumerable ?? false,
    get(this: object): unknown {
      look();
      return wrap(getter.get?.call(this));
    },
  });
  restore.push(() => put(owner, name, own));
}

// `format` is a getter, which gives a function bound to its formatter.
function takeFormat(): void {
  takeGetter(Intl.DateTimeFormat.prototype, "format", () => {}, guardedFormat);
}

function guardedFormat(format: unknown): unknown {
  return (date?: unknown): string => {
    if (date === undefined) check("format without a date", "the node's `clock`");
    return (format as (date: unknown) => string)(date);
  };
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
  restore.push(() => put(globalThis, "Date", own));
  // A date leads to what made it.
  const made = Object.getOwnPropertyDescriptor(original.prototype, "constructor");
  Object.defineProperty(original.prototype, "constructor", { ...made, value: guard });
  restore.push(() => put(original.prototype, "constructor", made));
}

function check(name: string, instead: string): void {
  if (inside.getStore() === undefined) return;
  throw new FabricError(
    "UNSUPPORTED",
    `Cannot use ${name} in a simulation: it would differ from run to run; use ${instead}`,
    { name },
  );
}
