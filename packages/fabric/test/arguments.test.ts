import { bufferMemoryProvider, Fabric, TTL_MAX_MS, type FabricOptions } from "@selvage/fabric";
import { describe, expect, it } from "vitest";
import { openManual, rejectionOf, START_MS, thrownBy, VirtualHost } from "./rig.ts";

const notBytes = [undefined, null, 5, "abc", [1, 2, 3], new Uint16Array(3), new ArrayBuffer(3), {}];
const notTtls = [0, -1, NaN, Infinity, TTL_MAX_MS + 1, "5", null, undefined, {}, 5n];
const notCounts = [0, -1, 1.5, NaN, Infinity, 2 ** 53, "5", null, undefined, 5n];
const notNames = ["", 5, null, undefined, {}];
const any = (value: unknown): never => value as never;

/** Each value refused, and the message says what was expected and what came. */
function checkRefused(
  values: readonly unknown[],
  name: RegExp,
  run: (value: unknown) => unknown,
): void {
  for (const value of values) {
    const { code, message, details } = thrownBy(() => run(value));
    expect([code, Object.keys(details)[0]], message).toEqual(["INVALID_ARGUMENT", "argument"]);
    expect(message).toMatch(name);
    expect(message).toMatch(/expected .+, got .+/);
  }
}

const using = <T>(run: (fabric: Fabric) => T): T => {
  using fabric = openManual();
  return run(fabric);
};

describe("INVALID_ARGUMENT says what was expected and what came:", () => {
  it("leaseMs()", () =>
    checkRefused(notTtls, /^leaseMs: /, (ms) => using((f) => f.mem().leaseMs(any(ms)))));

  it("leaseSecs(), in seconds", () => {
    checkRefused(notTtls, /^leaseSecs: expected seconds/, (s) =>
      using((f) => f.mem().leaseSecs(any(s))),
    );
    expect(thrownBy(() => using((f) => f.mem().leaseSecs(-2))).details["actual"]).toBe("-2");
  });

  it("minBytes() and minBlocks()", () => {
    checkRefused(notCounts, /^minBytes: /, (n) => using((f) => f.mem().minBytes(any(n))));
    checkRefused(notCounts, /^minBlocks: /, (n) => using((f) => f.block().minBlocks(any(n))));
  });

  it("tenant() and label()", () => {
    checkRefused(notNames, /^tenant: /, (name) => using((f) => f.mem().tenant(any(name))));
    checkRefused(notNames.slice(1), /^label: /, (name) => using((f) => f.block().label(any(name))));
  });

  it("renew()", () => {
    checkRefused(notTtls, /^ttlMs: /, (ms) => using((f) => f.mem().acquire().renew(any(ms))));
  });

  it("revoke()", () => {
    checkRefused([-1, NaN, Infinity, "5", {}], /^graceMs: /, (graceMs) =>
      using((f) =>
        f
          .mem()
          .acquire()
          .revoke({ graceMs: any(graceMs) }),
      ),
    );
  });

  it("write() and readInto()", () => {
    checkRefused(notBytes, /^bytes: /, (b) => using((f) => f.mem().acquire().write(0, any(b))));
    checkRefused(notBytes, /^target: /, (b) => using((f) => f.mem().acquire().readInto(0, any(b))));
  });

  it("with()", () => {
    checkRefused([undefined, null, 5, {}], /^use: /, (use) =>
      using((f) => f.mem().acquire().with(any(use))),
    );
  });

  it("tick()", () => {
    const far = [NaN, Infinity, -Infinity, 1e300, 2 ** 53, START_MS + TTL_MAX_MS, "5", null];
    checkRefused(far, /^nowMs: /, (ms) => using((f) => f.tick(any(ms))));
  });

  it("subscribe()", () => {
    checkRefused([undefined, null, {}], /^listener: /, (one) =>
      using((f) => f.subscribe(any(one))),
    );
  });

  it("unfence()", () => {
    checkRefused(["", "0".repeat(32), undefined, 5], /^leaseId: /, (id) =>
      using((f) => f.unfence(any(id))),
    );
  });

  const options: Partial<Record<keyof FabricOptions, unknown[]>> = {
    memoryBytes: [0, 63, -1, 1.5, NaN, 2 ** 41, "1", null],
    blocks: [-1, 0.5, NaN, 2 ** 27, "1", null],
    maxLeases: [0, -1, 1.5, 2 ** 26, null],
    tickMs: [0, 60_001, NaN],
    fenceAfterMs: [0, -1, NaN, "1"],
    shared: [0, 1, "true", null],
    guard: [0, null],
    tick: ["never", true, null],
    tenants: [
      null,
      5,
      { a: null },
      { a: 5 },
      { a: { memoryBytes: -1 } },
      { a: { leases: 1.5 } },
      { a: { blocks: "1" } },
    ],
  };
  it.each(Object.entries(options))("Fabric.open({ %s })", (name, values) => {
    checkRefused(values, new RegExp(`^${name}`), (value) => openManual({ [name]: value }));
  });

  it("Fabric.open() with no options at all", () => {
    const { clock, timer, random } = new VirtualHost();
    const ports = { clock, timer, random, memory: bufferMemoryProvider };
    checkRefused([null, undefined, 5], /^options: /, (value) => Fabric.open(any(value), ports));
  });
});

describe("a range beyond a memory lease", () => {
  const ranges: [offset: unknown, length: unknown][] = [
    [-1, 1],
    [0, -1],
    [0, 129],
    [128, 1],
    [127, 2],
    [1.5, 1],
    [0, 0.5],
    [NaN, 1],
    [0, NaN],
    [2 ** 32, 1],
    [-(2 ** 32), 1],
    [Infinity, 1],
    [0, 2 ** 53],
    ["0", 1],
    [0, "1"],
    [null, 1],
    [undefined, undefined],
  ];
  it.each(ranges)("is refused: %o + %o", (offset, length) => {
    using fabric = openManual();
    const lease = fabric.mem().minBytes(128).acquire();
    const { code, message } = thrownBy(() => lease.read(any(offset), any(length)));
    expect([code, message]).toEqual([
      "INVALID_ARGUMENT",
      `range: expected integers within 0..128, got ${String(offset)} + ${String(length)}`,
    ]);
  });

  it("is refused for writing and for reading into, and an empty one at the end is not", () => {
    using fabric = openManual();
    const lease = fabric.mem().minBytes(128).acquire();
    expect(thrownBy(() => lease.write(127, new Uint8Array(2))).code).toBe("INVALID_ARGUMENT");
    expect(thrownBy(() => lease.readInto(0, new Uint8Array(129))).code).toBe("INVALID_ARGUMENT");
    expect(lease.read(128, 0)).toEqual(new Uint8Array(0));
    lease.write(128, new Uint8Array(0));
  });
});

describe("a block lease's arguments", () => {
  it.each([-1, 2, 1.5, NaN, "0", null, undefined, 2 ** 53])(
    "block %o is refused",
    async (index) => {
      using fabric = openManual();
      const lease = await fabric.block().minBlocks(2).acquire();
      for (const operation of [
        lease.readBlock(any(index)),
        lease.writeBlock(any(index), new Uint8Array(1)),
        lease.readInto(any(index), new Uint8Array(512)),
        lease.write(any(index), new Uint8Array(512)),
      ])
        expect(await rejectionOf(operation)).toMatchObject({
          code: "INVALID_ARGUMENT",
          details: { argument: "index" },
        });
    },
  );

  it.each(notBytes)("bytes %o are refused", async (bytes) => {
    using fabric = openManual();
    const lease = await fabric.block().acquire();
    for (const operation of [
      lease.writeBlock(0, any(bytes)),
      lease.write(0, any(bytes)),
      lease.readInto(0, any(bytes)),
    ])
      expect((await rejectionOf(operation)).message).toMatch(/^bytes: expected a Uint8Array, got /);
  });

  it("bytes that are no whole blocks, or too many, are refused", async () => {
    using fabric = openManual();
    const lease = await fabric.block().minBlocks(2).acquire();
    const codes = [
      lease.write(0, new Uint8Array(511)),
      lease.readInto(0, new Uint8Array(513)),
      lease.writeBlock(0, new Uint8Array(513)),
      lease.write(1, new Uint8Array(1_024)),
      lease.readInto(0, new Uint8Array(1_536)),
    ].map(async (operation) => (await rejectionOf(operation)).code);
    expect(await Promise.all(codes)).toEqual(codes.map(() => "INVALID_ARGUMENT"));
  });
});
