/**
 * An end of an edge on a thread that has no fabric. The thread that has one answers for it: it leases memory, finds what
 * a locator leads to, and writes or reads the handoff record. Items do not pass through here: they go by the ring.
 *
 * One request, one answer, in any order; leases cross as tickets. Whatever a port asks for is done before its host says
 * `closed`, or is not done at all: a thread that has been ended publishes nothing once its successor begins.
 */
import { MessageChannel, receiveMessageOnPort, type MessagePort } from "node:worker_threads";
import {
  FabricError,
  fromWire,
  invalidArgument,
  toWire,
  type Fabric as PureFabric,
  type FabricErrorWire,
  type LeaseAddress,
  type MemLease,
  type MemTicket,
} from "@selvage/fabric";
import type { HandoffState, Locator } from "@selvage/fence";
import {
  EDGE_LEASE_MS,
  type EdgeFabric,
  type EdgeHandoff,
  type EdgeReader,
  type EdgeRenewals,
  type EdgeWriter,
} from "@selvage/pipeline";
import { Fabric } from "./fabric.ts";
import { systemTimer } from "./host-ports.ts";
import { SystemClock } from "./system-clock.ts";

/** How a host serves an edge's end. */
export interface EdgeHostOptions {
  /** TTL of the leases that it acquires, in milliseconds. Default 30,000, as an edge's. */
  readonly leaseMs?: number;
  /** Keeps the ring's lease alive for the other thread, until that says otherwise or ends. Default: nobody does. */
  readonly renewals?: EdgeRenewals;
}

type Ask =
  | { readonly ask: "acquire"; readonly bytes: number }
  | { readonly ask: "resolve"; readonly address: LeaseAddress }
  | { readonly ask: "publish"; readonly locator: Locator }
  | { readonly ask: "poll" };

type Request = { readonly id: number } & Ask;

type Told =
  | { readonly tell: "register"; readonly leaseId: string; readonly expiresAtMs: number }
  | { readonly tell: "unregister"; readonly leaseId: string };

interface Answer {
  readonly id: number;
  /** Of the handoff record, as its writer or reader has it. */
  readonly generation: number;
  readonly value?: unknown;
  readonly error?: FabricErrorWire;
}

/** The first message of a port: there before it leaves its owner's thread. */
interface Hello {
  readonly hello: "selvage.edge";
  readonly isWriter: boolean;
  readonly isRenewing: boolean;
  readonly generation: number;
}

/** Answers for an edge's end on another thread. See {@link edgeHost}. */
export interface EdgeHost extends Disposable {
  /** To be sent to that thread (and named in the transfer list): there `edgePort(port)` takes it. */
  readonly port: MessagePort;
  /** Resolves once nothing that the port has asked for is done any more: it was closed here or there, or its thread is gone. */
  readonly closed: Promise<void>;
  /** Answers nothing from now on, and gives back the memory that was acquired and never published. Idempotent. */
  close(): Promise<void>;
}

/**
 * Lets another thread have an end of an edge of this thread's: with a writer the producer's, with a reader the consumer's.
 * A thread that has ended leaves its ring as it is, for whoever takes its end over: await `closed` before that one begins.
 * @throws FabricError `INVALID_ARGUMENT`.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { edgeHost, edgePort, Fabric, FabricQueue, HandoffReader, HandoffWriter, RelocatableQueueEdge } from "selvage";
 *
 * await using fabric = Fabric.open({ memoryBytes: 1 << 20, blocks: 16 });
 * const blocks = await fabric.block().minBlocks(HandoffWriter.BLOCKS).acquire();
 * const lease = fabric.mem().minBytes(FabricQueue.bytesFor(64, 256)).acquire();
 * const locator = RelocatableQueueEdge.locatorOf(new FabricQueue(lease, 64, 256));
 * const writer = new HandoffWriter(blocks, "parse");
 * await writer.publish(locator);
 * using producer = new RelocatableQueueEdge(FabricQueue.attach(lease), locator, writer);
 *
 * using host = edgeHost(fabric, new HandoffReader(blocks));
 * // worker.postMessage({ port: host.port }, [host.port]); and on the worker's side:
 * using port = edgePort(host.port);
 * using consumer = await RelocatableQueueEdge.attach(port, port.reader!);
 * await producer.send(Uint8Array.of(7));
 * assert.deepEqual(await consumer.popAsync(), Uint8Array.of(7));
 * ```
 */
export function edgeHost(
  fabric: PureFabric,
  handoff: EdgeHandoff,
  options: EdgeHostOptions = {},
): EdgeHost {
  if (!(fabric instanceof Fabric)) throw invalidArgument("fabric", "a Fabric", fabric);
  const { leaseMs = EDGE_LEASE_MS } = options;
  if (!(typeof leaseMs === "number" && leaseMs > 0 && leaseMs < Infinity))
    throw invalidArgument("leaseMs", "milliseconds above 0", leaseMs);
  const { port1, port2 } = new MessageChannel();
  const host = new Host(fabric, handoff, port1, { ...options, leaseMs });
  const hello: Hello = {
    hello: "selvage.edge",
    isWriter: host.isWriter,
    isRenewing: options.renewals !== undefined,
    generation: handoff.generation,
  };
  port1.postMessage(hello);
  return {
    port: port2,
    closed: host.closed,
    close: async () => host.close(),
    [Symbol.dispose]: () => void host.close(),
  };
}

class Host {
  readonly isWriter: boolean;
  readonly closed: Promise<void>;
  readonly #fabric: Fabric;
  readonly #handoff: Partial<EdgeWriter & EdgeReader> & { readonly generation: number };
  readonly #port: MessagePort;
  readonly #leaseMs: number;
  readonly #renewals: EdgeRenewals | undefined;
  readonly #kept = new Set<string>();
  // Acquired, and not published: nobody but the other thread knows of them.
  readonly #unpublished = new Map<string, MemLease>();
  readonly #underWay = new Set<Promise<void>>();
  #hasClosed: () => void = () => {};
  #isClosed = false;

  constructor(
    fabric: Fabric,
    handoff: EdgeHandoff,
    port: MessagePort,
    { leaseMs, renewals }: EdgeHostOptions & { readonly leaseMs: number },
  ) {
    const { publish, poll } = (handoff ?? {}) as Partial<EdgeWriter & EdgeReader>;
    this.isWriter = typeof publish === "function";
    if (!this.isWriter && typeof poll !== "function")
      throw invalidArgument("handoff", "a HandoffWriter or a HandoffReader", handoff);
    this.#fabric = fabric;
    this.#handoff = handoff;
    this.#port = port;
    this.#leaseMs = leaseMs;
    this.#renewals = renewals;
    this.closed = new Promise((resolve) => (this.#hasClosed = resolve));
    port.on("message", (message: Request | Told) => this.#hear(message));
    port.on("close", () => void this.close());
    // Whoever is at the other end keeps the program alive, if it is to be.
    port.unref();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return this.closed;
    this.#isClosed = true;
    this.#port.close();
    for (const leaseId of this.#kept) this.#renewals?.unregister(leaseId);
    await Promise.all(this.#underWay);
    for (const lease of this.#unpublished.values()) lease.release();
    this.#hasClosed();
  }

  #hear(message: Request | Told): void {
    if (this.#isClosed) return;
    if ("tell" in message) return this.#keep(message);
    const done = this.#answer(message).finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
  }

  async #answer(request: Request): Promise<void> {
    const { id } = request;
    let outcome: Pick<Answer, "value" | "error">;
    try {
      outcome = { value: await this.#carryOut(request) };
    } catch (error) {
      outcome = { error: toWire(error) };
    }
    // To a port that was closed meanwhile it goes nowhere.
    const { generation } = this.#handoff;
    this.#port.postMessage({ id, generation, ...outcome } satisfies Answer);
  }

  async #carryOut(request: Request): Promise<unknown> {
    switch (request.ask) {
      case "acquire": {
        const { bytes } = request;
        const builder = this.#fabric.mem().minBytes(bytes).leaseMs(this.#leaseMs).label("edge");
        const lease = builder.acquire();
        for (const [leaseId, { isLive }] of this.#unpublished)
          if (!isLive) this.#unpublished.delete(leaseId);
        this.#unpublished.set(lease.leaseId, lease);
        return lease.ticket();
      }
      case "resolve":
        return this.#fabric.leaseAt({ ...request.address, kind: "queue" }).ticket();
      case "publish": {
        const { locator } = request;
        const state = await this.#handoff.publish?.(locator);
        this.#unpublished.delete(locator.leaseId);
        return state;
      }
      case "poll":
        return this.#handoff.poll?.();
    }
  }

  #keep(told: Told): void {
    const { leaseId } = told;
    try {
      if (told.tell === "unregister") {
        this.#kept.delete(leaseId);
        this.#renewals?.unregister(leaseId);
        return;
      }
      this.#renewals?.register(leaseId, told.expiresAtMs);
      this.#kept.add(leaseId);
    } catch {
      // It has ended on the way: its edge finds that out by itself.
    }
  }
}

/** What an edge's end needs of the thread that has the fabric. See {@link edgePort}. */
export interface EdgePort extends EdgeFabric, Disposable {
  /** The record of the producer's end; undefined where this is the consumer's. */
  readonly writer: EdgeWriter | undefined;
  /** The record of the consumer's end; undefined where this is the producer's. */
  readonly reader: EdgeReader | undefined;
  /** What keeps leases alive, if the host was given it. */
  readonly renewals: EdgeRenewals | undefined;
  /** Memory of the host's fabric, as an edge's `options.acquire`. @throws FabricError as `MemBuilder.acquire` and `Fabric.attachMem`; `DISCONNECTED`. */
  readonly acquire: (bytes: number) => Promise<MemLease>;
  /** What a locator leads to, also for an edge's `options.resolve`. @throws FabricError as `Fabric.leaseAt` and `Fabric.attachMem`; `DISCONNECTED`. */
  readonly leaseAt: (address: LeaseAddress) => Promise<MemLease>;
}

/**
 * The other side of {@link edgeHost}, on any thread of the process. Each call is a message there and one back. Once the
 * host is closed, or its thread has ended, calls reject with `DISCONNECTED`. While a call is under way it keeps its thread
 * alive. Dispose of it when the edge is done.
 * @throws FabricError `INVALID_ARGUMENT`: the port is no host's, or was taken before. `DISCONNECTED`: it was closed.
 */
export function edgePort(port: MessagePort): EdgePort {
  const isPort = typeof (port as Partial<MessagePort> | undefined)?.postMessage === "function";
  // It was sent before the port was.
  const hello = isPort
    ? (receiveMessageOnPort(port)?.message as Partial<Hello> | undefined)
    : undefined;
  if (hello?.hello !== "selvage.edge")
    throw invalidArgument("port", "the port of an edgeHost, not taken before", port);
  const line = new Line(port, hello as Hello);
  const { isWriter, isRenewing } = hello;
  const clock = new SystemClock();
  return {
    writer: isWriter === true ? writerOf(line) : undefined,
    reader: isWriter === true ? undefined : readerOf(line),
    renewals: isRenewing === true ? renewalsOf(line) : undefined,
    timer: systemTimer,
    nowMs: () => clock.nowMs(),
    acquire: async (bytes) =>
      Fabric.attachMem((await line.ask({ ask: "acquire", bytes })) as MemTicket),
    leaseAt: async ({ leaseId, slot, generation }) => {
      const address = { leaseId, slot, generation };
      return Fabric.attachMem((await line.ask({ ask: "resolve", address })) as MemTicket);
    },
    [Symbol.dispose]: () => line.close(),
  };
}

function writerOf(line: Line): EdgeWriter {
  return {
    get generation() {
      return line.generation;
    },
    publish: async (locator) => (await line.ask({ ask: "publish", locator })) as HandoffState,
  };
}

function readerOf(line: Line): EdgeReader {
  return {
    get generation() {
      return line.generation;
    },
    poll: async () => (await line.ask({ ask: "poll" })) as HandoffState | undefined,
  };
}

function renewalsOf(line: Line): EdgeRenewals {
  return {
    register: (leaseId, expiresAtMs) => line.tell({ tell: "register", leaseId, expiresAtMs }),
    unregister: (leaseId) => line.tell({ tell: "unregister", leaseId }),
  };
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Requests, and the answers to them. */
class Line {
  generation: number;
  readonly #port: MessagePort;
  readonly #pending = new Map<number, Pending>();
  #last = 0;
  #isClosed = false;

  constructor(port: MessagePort, { generation }: Hello) {
    this.generation = generation;
    this.#port = port;
    port.on("message", (answer: Answer) => this.#hear(answer));
    port.on("close", () => this.close());
    port.unref();
  }

  ask(ask: Ask): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(isOver());
    const id = ++this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.set(id, { resolve, reject });
    this.#port.ref();
    this.#port.postMessage({ id, ...ask } satisfies Request);
    return promise;
  }

  tell(told: Told): void {
    if (!this.#isClosed) this.#port.postMessage(told);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#port.close();
    for (const { reject } of this.#pending.values()) reject(isOver());
    this.#pending.clear();
  }

  #hear({ id, generation, value, error }: Answer): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#port.unref();
    // Answers may overtake one another.
    this.generation = Math.max(this.generation, generation);
    if (error === undefined) pending.resolve(value);
    else pending.reject(fromWire(error));
  }
}

function isOver(): FabricError {
  return new FabricError("DISCONNECTED", "Cannot reach the edge's host: it was closed", {});
}
