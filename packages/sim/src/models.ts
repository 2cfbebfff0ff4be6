/**
 * What a service ought to do, one operation at a time: the sequential specifications that histories of concurrent
 * clients are compared with.
 */
import { canonical, isSame } from "./canonical.ts";
import { fifo } from "./fifo.ts";
import { answer, isNothing, UNKNOWN, unknownInput, type Model } from "./model.ts";

export {
  fifo,
  type FifoInput,
  type FifoOutput,
  type FifoState,
  type PolledBetween,
} from "./fifo.ts";
export { UNKNOWN, type Model } from "./model.ts";

/** What a client asks of a register. `key` names which, when there are several. */
export type RegisterInput =
  | { readonly type: "read"; readonly key?: string }
  | { readonly type: "write"; readonly value: unknown; readonly key?: string };

/** What a client asks of a register that compares and exchanges. */
export type CasRegisterInput =
  | RegisterInput
  | {
      readonly type: "cas";
      readonly expected: unknown;
      readonly value: unknown;
      readonly key?: string;
    };

/** A register's value. */
export interface RegisterState {
  readonly value: unknown;
}

/** A register, or several that `key` tells apart: a read gives what was written last; a write's answer says nothing. */
export function register(initial?: unknown): Model<RegisterState, RegisterInput, unknown> {
  const { init, key = () => "", hash, show, step } = casRegister(initial);
  return {
    name: "register",
    init,
    key,
    hash,
    show,
    step(state, input, output) {
      if ((input.type as string) === "cas") throw unknownInput("register", "read or write", input);
      return step(state, input, output);
    },
  };
}

/** A {@link register} with `cas`, which is answered with true when `expected` was there and `value` now is, else false. */
export function casRegister(initial?: unknown): Model<RegisterState, CasRegisterInput, unknown> {
  return {
    name: "casRegister",
    init: () => ({ value: initial }),
    key: (input) => input.key ?? "",
    step(state, input, output) {
      switch (input.type) {
        case "read":
          return output === UNKNOWN || isSame(output, state.value) ? state : undefined;
        case "write":
          return withValue(state, input.value);
        case "cas": {
          const isEqual = isSame(state.value, input.expected);
          if (output !== UNKNOWN && output !== isEqual) return undefined;
          return isEqual ? withValue(state, input.value) : state;
        }
        default:
          throw unknownInput("casRegister", "read, write or cas", input);
      }
    },
    hash: ({ value }) => canonical(value),
    show(input, output) {
      const cas = input.type === "cas" ? `${canonical(input.expected)}, ` : "";
      const given = input.type === "read" ? "" : cas + canonical(input.value);
      return `${input.type}(${given})${answer(output)}`;
    },
  };
}

/** What a client asks of a map. */
export type MapInput =
  | { readonly type: "get"; readonly key: string }
  | { readonly type: "has"; readonly key: string }
  | { readonly type: "put"; readonly key: string; readonly value: unknown }
  | { readonly type: "delete"; readonly key: string };

/** What a map has under one key. */
export interface MapState {
  readonly isThere: boolean;
  readonly value: unknown;
}

/**
 * A map, judged key by key. A get gives the value, undefined or null when there is none; `has` gives a boolean; a delete
 * that is answered with a boolean says whether something was there; a put's answer says nothing.
 */
export function map(): Model<MapState, MapInput, unknown> {
  const empty: MapState = { isThere: false, value: undefined };
  return {
    name: "map",
    init: () => empty,
    key: (input) => input.key,
    step(state, input, output) {
      switch (input.type) {
        case "get": {
          const isLegal = state.isThere ? isSame(output, state.value) : isNothing(output);
          return output === UNKNOWN || isLegal ? state : undefined;
        }
        case "has":
          return output === UNKNOWN || output === state.isThere ? state : undefined;
        case "put":
          return state.isThere
            ? withValue(state, input.value)
            : { isThere: true, value: input.value };
        case "delete":
          if (typeof output === "boolean" && output !== state.isThere) return undefined;
          return state.isThere ? empty : state;
        default:
          throw unknownInput("map", "get, has, put or delete", input);
      }
    },
    hash: ({ isThere, value }) => (isThere ? canonical(value) : "nothing"),
    show(input, output) {
      const value = input.type === "put" ? `, ${canonical(input.value)}` : "";
      return `${input.type}(${canonical(input.key)}${value})${answer(output)}`;
    },
  };
}

/** What a holder asks of the authority that leases a resource; `expire` is recorded by the authority itself. */
export type LeaseInput =
  | { readonly type: "grant"; readonly holder: string; readonly resource?: string }
  | {
      readonly type: "renew" | "release";
      readonly holder: string;
      readonly epoch: number;
      readonly resource?: string;
    }
  | { readonly type: "expire"; readonly epoch: number; readonly resource?: string };

/** A resource's lease. */
export interface LeaseState {
  /** Who holds it; undefined when it is free. */
  readonly holder: string | undefined;
  /** The highest epoch that anybody was told; -1 before the first. */
  readonly epoch: number;
  /** True when the holder's epoch is above {@link epoch}: its grant was never answered. */
  readonly isAbove: boolean;
}

/**
 * A lease with epochs on each resource. A grant gives its epoch, which is above all before it (L1), or undefined or null
 * when the resource is held. Renew, release and expire give true exactly for the (holder, epoch) that holds, else false
 * (L4). Time is no part of it: it is `expire` that ends a lease.
 */
export function lease(): Model<LeaseState, LeaseInput, unknown> {
  return {
    name: "lease",
    init: () => ({ holder: undefined, epoch: -1, isAbove: false }),
    key: (input) => input.resource ?? "",
    step(state, input, output) {
      switch (input.type) {
        case "grant":
          return granted(state, input.holder, output);
        case "renew":
        case "release":
        case "expire":
          return heldBy(state, input, output);
        default:
          throw unknownInput("lease", "grant, renew, release or expire", input);
      }
    },
    hash: ({ holder, epoch, isAbove }) => canonical([holder, epoch, isAbove]),
    show(input, output) {
      const given = [
        ...(input.type === "expire" ? [] : [input.holder]),
        ...(input.type === "grant" ? [] : [`epoch ${input.epoch}`]),
      ];
      return `${input.type}(${given.join(", ")})${answer(output)}`;
    },
  };
}

function granted(state: LeaseState, holder: string, output: unknown): LeaseState | undefined {
  if (state.holder !== undefined)
    return output === UNKNOWN || isNothing(output) ? state : undefined;
  if (output === UNKNOWN) return { holder, epoch: state.epoch, isAbove: true };
  if (typeof output !== "number" || !(output > state.epoch)) return undefined;
  return { holder, epoch: output, isAbove: false };
}

function heldBy(
  state: LeaseState,
  input: Exclude<LeaseInput, { readonly type: "grant" }>,
  output: unknown,
): LeaseState | undefined {
  const { holder, epoch, isAbove } = state;
  const isHolder = holder !== undefined && (input.type === "expire" || holder === input.holder);
  const mayHold = isHolder && (isAbove ? input.epoch > epoch : input.epoch === epoch);
  // Without an answer both are possible where `isAbove`; that it had no effect is for the search to try.
  if (output === false || (output === UNKNOWN && !mayHold)) {
    return mayHold && !isAbove ? undefined : state;
  }
  if (!mayHold || (output !== true && output !== UNKNOWN)) return undefined;
  if (input.type === "renew")
    return isAbove ? { holder, epoch: input.epoch, isAbove: false } : state;
  return { holder: undefined, epoch: input.epoch, isAbove: false };
}

function withValue<State extends { readonly value: unknown }>(state: State, value: unknown): State {
  return isSame(state.value, value) ? state : { ...state, value };
}

/** The models that come with the simulator. */
export const models: {
  readonly fifo: typeof fifo;
  readonly register: typeof register;
  readonly casRegister: typeof casRegister;
  readonly map: typeof map;
  readonly lease: typeof lease;
} = { fifo, register, casRegister, map, lease };
