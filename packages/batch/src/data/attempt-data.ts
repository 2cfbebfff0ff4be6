/**
 * The data of one attempt, on the thread that runs it: inputs lent, outputs leased, both given back at its end.
 * The same code serves the calling thread and worker threads; they differ in how they reach a lease.
 */
import { FabricError, invalidArgument, type Loan, type MemLease } from "@selvage/fabric";
import type { CommittedOutput } from "@selvage/leasekit";
import type { CodecOf } from "./data-codecs.ts";
import {
  layOut,
  layValue,
  shapeBytes,
  viewValue,
  type DataRef,
  type DataShape,
  type DataValue,
} from "./data-format.ts";
import type { Lendable } from "./heap-room.ts";

/** An input, as this thread reaches it. */
export interface AttemptInput {
  readonly ref: DataRef;
  /** How many bytes of the lease count. */
  readonly bytes: number;
  /** Reaches the lease on this thread. @throws FabricError `LEASE_EXPIRED` and others. */
  readonly open: () => MemLease;
}

/** A lease for an output, as the owner numbers an attempt's allocations. */
export interface Allocation {
  readonly number: number;
  readonly lease: Lendable;
}

interface OpenOutput {
  readonly allocation: Allocation;
  readonly loan: Loan;
  readonly value: unknown;
  readonly bytes: number;
}

/** What an attempt was given, and what it makes. */
export class AttemptData {
  readonly #task: string;
  readonly #inputs: ReadonlyMap<string, AttemptInput>;
  readonly #outputs: ReadonlyMap<string, DataRef>;
  readonly #acquire: (output: string, bytes: number) => Allocation;
  readonly #codecOf: CodecOf;
  readonly #lentInputs = new Map<string, { readonly loan: Loan; readonly value: unknown }>();
  readonly #openOutputs = new Map<string, OpenOutput>();
  // Every loan taken, also those whose value could not be made: what is not ended here is never reclaimed.
  readonly #loans: Loan[] = [];
  #isOver = false;

  constructor(
    task: string,
    inputs: readonly AttemptInput[],
    outputs: readonly DataRef[],
    acquire: (output: string, bytes: number) => Allocation,
    codecOf: CodecOf,
  ) {
    this.#task = task;
    this.#inputs = byName(inputs, ({ ref }) => ref.name);
    this.#outputs = byName(outputs, ({ name }) => name);
    this.#acquire = acquire;
    this.#codecOf = codecOf;
  }

  /** See `TaskContext.input`. @throws FabricError `INVALID_ARGUMENT`, `LEASE_EXPIRED`, `DECODE`. */
  input(name: string): unknown {
    const input = this.#inputs.get(name);
    if (input === undefined)
      throw invalidArgument("input", this.#declared("inputs", this.#inputs.keys()), name);
    this.#checkOpen("read", name);
    const lent = this.#lentInputs.get(name);
    if (lent !== undefined) return lent.value;
    const loan = this.#lend(input.open());
    const value = viewValue(input.ref, loan.view, input.bytes, this.#codecOf);
    this.#lentInputs.set(name, { loan, value });
    return value;
  }

  /** See `TaskContext.allocate`. Allocating an output again replaces it. */
  allocate(name: string, shape: DataShape): DataValue {
    const ref = this.#output(name);
    this.#checkOpen("allocate", name);
    const bytes = shapeBytes(ref, shape);
    const allocation = this.#acquire(name, Math.max(bytes, 1));
    const loan = this.#lend(allocation.lease, { write: true });
    const value = layValue(ref, loan.view, shape);
    this.#openOutputs.get(name)?.loan.end();
    this.#openOutputs.set(name, { allocation, loan, value, bytes });
    return value;
  }

  /**
   * Takes what the body returned: every declared output must be there, none else. Values that are not in their lease
   * yet are copied into one. Ends all loans.
   * @throws FabricError `INVALID_ARGUMENT`, `ENCODE`, `CAPACITY_EXCEEDED`; `LEASE_EXPIRED` when any lease has lapsed,
   * whatever was returned.
   */
  commit(returned: unknown): CommittedOutput[] {
    try {
      const values = this.#checkReturned(returned);
      const committed = [...this.#outputs.values()].map((ref) =>
        // Own properties only: an output may be called `constructor`.
        this.#place(ref, Object.hasOwn(values, ref.name) ? values[ref.name] : undefined),
      );
      this.#checkLeases();
      return committed;
    } finally {
      this.end();
    }
  }

  /** Ends all loans, and takes no more: a body may go on after its attempt. Idempotent. */
  end(): void {
    this.#isOver = true;
    for (const loan of this.#loans.splice(0)) loan.end();
  }

  #lend(lease: Lendable, options?: { readonly write?: boolean }): Loan {
    const loan = lease.lend(options);
    this.#loans.push(loan);
    return loan;
  }

  #checkOpen(what: string, name: string): void {
    if (!this.#isOver) return;
    throw new FabricError(
      "LEASE_EXPIRED",
      `Cannot ${what} "${name}": the attempt of task "${this.#task}" is over`,
      { task: this.#task, data: name },
    );
  }

  #checkReturned(returned: unknown): Readonly<Record<string, unknown>> {
    if (returned === undefined || returned === null) return {};
    if (typeof returned !== "object" || ArrayBuffer.isView(returned))
      throw invalidArgument(`what task "${this.#task}" returned`, "outputs by name", returned);
    for (const name of Object.keys(returned)) this.#output(name);
    return returned as Readonly<Record<string, unknown>>;
  }

  #place(ref: DataRef, value: unknown): CommittedOutput {
    const open = this.#openOutputs.get(ref.name);
    if (open !== undefined && (value === undefined || value === open.value))
      return { name: ref.name, allocation: open.allocation.number, bytes: open.bytes };
    if (value === undefined)
      throw new FabricError(
        "INVALID_ARGUMENT",
        `Task "${this.#task}" ended without its output "${ref.name}": expected it to be returned or allocated`,
        { task: this.#task, output: ref.name },
      );
    const laid = layOut(ref, value, this.#codecOf);
    const { bytes } = laid;
    if (open !== undefined && isPrefix(value, open.value))
      return { name: ref.name, allocation: open.allocation.number, bytes };
    const allocation = this.#acquire(ref.name, Math.max(bytes, 1));
    const loan = this.#lend(allocation.lease, { write: true });
    laid.writeTo(loan.view);
    open?.loan.end();
    this.#openOutputs.set(ref.name, { allocation, loan, value, bytes });
    return { name: ref.name, allocation: allocation.number, bytes };
  }

  #checkLeases(): void {
    for (const [name, { loan }] of this.#lentInputs) if (loan.lapsed) throw this.#lapsed(name);
    for (const [name, { loan }] of this.#openOutputs) if (loan.lapsed) throw this.#lapsed(name);
  }

  #lapsed(name: string): FabricError {
    return new FabricError(
      "LEASE_EXPIRED",
      `Task "${this.#task}" worked on the lease of "${name}" past its deadline: what it made is thrown away`,
      { task: this.#task, data: name },
    );
  }

  #output(name: string): DataRef {
    const ref = this.#outputs.get(name);
    if (ref !== undefined) return ref;
    throw invalidArgument("output", this.#declared("outputs", this.#outputs.keys()), name);
  }

  #declared(what: string, names: Iterable<string>): string {
    const list = [...names].map((name) => `"${name}"`).join(", ");
    return `one of the ${what} of task "${this.#task}" (${list === "" ? "it declares none" : list})`;
  }
}

// A raw output that was allocated too long, and returned as a shorter view of its own beginning.
function isPrefix(value: unknown, allocated: unknown): boolean {
  return (
    value instanceof Uint8Array &&
    allocated instanceof Uint8Array &&
    value.buffer === allocated.buffer &&
    value.byteOffset === allocated.byteOffset &&
    value.byteLength <= allocated.byteLength
  );
}

const nothing: ReadonlyMap<string, never> = new Map<string, never>();

// Tasks that only work, by the million, need no maps.
function byName<T>(all: readonly T[], nameOf: (one: T) => string): ReadonlyMap<string, T> {
  return all.length === 0 ? nothing : new Map(all.map((one) => [nameOf(one), one]));
}
