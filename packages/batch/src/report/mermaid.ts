/** A plan as a Mermaid flowchart. */
import type { PlannedTask } from "../graph/execution-plan.ts";
import { isModule } from "../graph/task.ts";
import { counted, formatBytes, visible } from "./visible-text.ts";

/** Draws waves as subgraphs. An edge has the names of the data that goes over it; a dotted one is data alone. */
export function drawMermaid(
  tasks: readonly PlannedTask[],
  waves: readonly (readonly string[])[],
): string {
  const byName = new Map(tasks.map((task, index) => [task.name, { task, id: `t${index}` }]));
  const lines = ["flowchart LR"];
  for (const [wave, names] of waves.entries()) {
    lines.push(`  subgraph w${wave}["wave ${wave + 1}"]`);
    for (const name of names) {
      const node = byName.get(name);
      if (node !== undefined) lines.push(`    ${node.id}${shape(node.task)}`);
    }
    lines.push("  end");
  }
  const makers = new Map(tasks.flatMap((task) => task.outputs.map((ref) => [ref.name, task.name])));
  for (const { name, after, inputs } of tasks) {
    // What it reads, by who makes it: a predecessor, or one further up.
    const read = new Map<string, string[]>(after.map((before) => [before, []]));
    for (const ref of inputs) {
      const maker = makers.get(ref.name);
      if (maker === undefined) continue;
      const names = read.get(maker);
      if (names === undefined) read.set(maker, [ref.name]);
      else names.push(ref.name);
    }
    const needed = new Set(after);
    for (const [before, names] of read)
      lines.push(
        `  ${edge(byName.get(before)?.id, byName.get(name)?.id, names, needed.has(before))}`,
      );
  }
  return `${lines.join("\n")}\n`;
}

// A module on a thread of its own is a hexagon, a function a box.
function shape({ name, def }: PlannedTask): string {
  const { resourceReq, retries = 0 } = def;
  const needs = [
    ...(resourceReq?.minMemoryBytes === undefined ? [] : [formatBytes(resourceReq.minMemoryBytes)]),
    ...(resourceReq?.threads === undefined ? [] : [counted(resourceReq.threads, "thread")]),
    ...(retries === 0 ? [] : [counted(retries, "retry").replace(/retrys$/, "retries")]),
  ];
  const label = [quoted(name), ...(needs.length === 0 ? [] : [quoted(needs.join(", "))])];
  const text = `"${label.join("<br/>")}"`;
  return isModule(def.run) ? `{{${text}}}` : `[${text}]`;
}

function edge(
  from: string | undefined,
  to: string | undefined,
  names: readonly string[],
  isDependency: boolean,
): string {
  const line = isDependency ? "-->" : "-.->";
  return names.length === 0
    ? `${from} ${line} ${to}`
    : `${from} ${line}|"${names.map(quoted).join(", ")}"| ${to}`;
}

// Letters, digits and a few harmless signs of any language stand for themselves. Everything else is a character
// reference, Mermaid's own way of writing one: none of its syntax, and none of HTML's, can come from a name.
function quoted(text: string): string {
  return visible(text).replaceAll(
    /[^\p{L}\p{M}\p{N} _.,/+-]/gu,
    (character) => `#${character.codePointAt(0)};`,
  );
}
