/** The feed that one process sends and another stores: 20,000 flights, and where each process keeps what it needs. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { Fabric, msgpackCodec } from "selvage";

/** One flight. */
export interface Flight {
  readonly date: string;
  readonly delay: number;
  readonly distance: number;
  readonly origin: string;
  readonly destination: string;
}

/** The edge's name in both files. */
export const EDGE = "flights";

/** How flights cross: `vega-datasets` hides the file behind its `exports`. */
export const flightCodec = msgpackCodec<Flight>();

/** The feed. Flight number `n` is the same one each time that it is asked for. */
export function readFlights(): readonly Flight[] {
  const entry = createRequire(import.meta.url).resolve("vega-datasets");
  const file = path.join(path.dirname(entry), "..", "data", "flights-20k.json");
  return JSON.parse(readFileSync(file, "utf8")) as readonly Flight[];
}

/** The process's own fabric: its blocks outlive it. */
export function openOwn(folder: string, who: "producer" | "consumer"): Fabric {
  return Fabric.open({
    memoryBytes: 65_536,
    blocks: 1_024,
    blockLeases: 16,
    blockFile: path.join(folder, who),
  });
}

/** The other process's, for reading. */
export function openPeer(folder: string, who: "producer" | "consumer"): Fabric {
  return Fabric.open({
    memoryBytes: 65_536,
    blockFile: path.join(folder, who),
    blockAccess: "read",
  });
}

/** The sink's file. */
export function sinkFile(folder: string): string {
  return path.join(folder, "flights.sqlite");
}
