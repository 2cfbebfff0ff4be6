/** Where a simulation's time goes: samples of V8's profiler, by whose code was running. */
import { Session } from "node:inspector/promises";

/** Parts of the time, by whose it was; they come to 1. */
export type Shares = Readonly<Record<string, number>>;

/** Runs `run` under the profiler. What runs in the engine itself on behalf of a function counts as that function's. */
export async function profiled(run: () => Promise<unknown>): Promise<Shares> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.start");
  await run();
  const { profile } = await session.post("Profiler.stop");
  session.disconnect();
  const owners = new Map(
    profile.nodes.map(({ id, callFrame }) => [id, ownerOf(callFrame.url, callFrame.functionName)]),
  );
  const sums = new Map<string, number>();
  const { samples = [], timeDeltas = [] } = profile;
  for (const [index, sample] of samples.entries()) {
    const owner = owners.get(sample) ?? "the host";
    sums.set(owner, (sums.get(owner) ?? 0) + (timeDeltas[index] ?? 0));
  }
  const all = [...sums.values()].reduce((sum, us) => sum + us, 0);
  return Object.fromEntries([...sums].map(([owner, us]) => [owner, us / Math.max(1, all)]));
}

function ownerOf(url: string, name: string): string {
  if (name === "(garbage collector)") return "garbage collection";
  if (name === "(idle)" || name === "(program)") return "the host's loop";
  if (name === "runMicrotasks" || url.startsWith("node:")) return "promises and the host's loop";
  const [, area, inside] = /\/(packages|test|benches)\/([\w-]+)/.exec(url) ?? [];
  if (area === "packages") return `@selvage/${inside}${partOf(url)}`;
  return area === undefined ? "the engine" : "the program, its checks included";
}

// The simulator's own parts are told apart.
function partOf(url: string): string {
  const file = /\/packages\/sim\/(?:src|dist)\/([\w-]+)/.exec(url)?.[1];
  if (file === undefined) return "";
  if (file === "kernel" || file === "trace-hash") return `: ${file}`;
  if (file.startsWith("sim-disk")) return ": disks";
  return file.includes("check") ? ": checks" : ": nodes and network";
}

/** A line for each owner that had more than 1 %, the largest first. */
export function shareLines(what: string, shares: Shares): readonly string[] {
  const told = Object.entries(shares)
    .filter(([, part]) => part >= 0.01)
    .toSorted(([, one], [, other]) => other - one);
  return [
    `sim: where the time of ${what} goes`,
    ...told.map(([owner, part]) => `  ${(part * 100).toFixed(1).padStart(5)} %  ${owner}`),
  ];
}
