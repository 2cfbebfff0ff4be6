import { ExecutionPlan, TaskGraph, type DataRef, type TaskDef, type TaskId } from "@selvage/batch";
import { isFabricError } from "@selvage/fabric";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { graphOf, idle, planOf, raw, thrownBy } from "./rig.ts";

const noRun = (): void => {};
const columns = (name: string): DataRef => ({ name, format: "columns" });

/** A random acyclic graph: every edge goes from a lower to a higher number of a shuffled numbering. */
const dags = fc
  .integer({ min: 1, max: 40 })
  .chain((count) =>
    fc.record({
      order: fc.shuffledSubarray([...Array(count).keys()], { minLength: count, maxLength: count }),
      pairs: fc.array(fc.tuple(fc.nat({ max: count - 1 }), fc.nat({ max: count - 1 })), {
        maxLength: 3 * count,
      }),
    }),
  )
  .map(({ order, pairs }) => {
    const tasks = order.map((_, index) => idle(`t${index}`));
    const edges = pairs
      .filter(([a, b]) => a !== b)
      .map(([a, b]) => {
        const [first, second] = [Math.min(a, b), Math.max(a, b)];
        return [`t${order[first]}`, `t${order[second]}`] as const;
      });
    return { tasks, edges };
  });

function pathOf(names: string, edges: readonly (readonly [string, string])[]): unknown {
  const error = thrownBy(() =>
    graphOf(
      names.split("").map((name) => idle(name)),
      edges,
    ).build(),
  );
  expect(error.code).toBe("GRAPH_CYCLE");
  return error.details["path"];
}

// What was quadratic took 6 s and 2.7 GB for a chain of 10,000; what is linear takes some 50 ms.
function buildInTime(
  tasks: readonly TaskDef[],
  edges: readonly (readonly [string, string])[],
): ExecutionPlan {
  const graph = graphOf(tasks, edges);
  const startedAt = performance.now();
  const plan = graph.build();
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  return plan;
}

describe("TaskGraph.build()", () => {
  it("orders a diamond into three waves, each in the order in which its tasks were added", () => {
    const plan = planOf(
      [idle("load"), idle("enrich"), idle("aggregate"), idle("extract")],
      [
        ["extract", "aggregate"],
        ["extract", "enrich"],
        ["aggregate", "load"],
        ["enrich", "load"],
      ],
    );
    expect(plan.waves()).toEqual([["extract"], ["enrich", "aggregate"], ["load"]]);
    expect(plan.taskCount()).toBe(4);
    expect(plan.tasks.map(({ name, wave }) => `${name} ${wave}`)).toEqual([
      "load 2",
      "enrich 1",
      "aggregate 1",
      "extract 0",
    ]);
  });

  it("puts a task into the first wave after its latest predecessor", () => {
    const plan = planOf(
      [idle("a"), idle("b"), idle("c"), idle("d")],
      [
        ["a", "b"],
        ["b", "c"],
        ["a", "d"],
        ["c", "d"],
      ],
    );
    expect(plan.waves()).toEqual([["a"], ["b"], ["c"], ["d"]]);
  });

  it("makes a plan without waves of a graph without tasks", () => {
    const plan = new TaskGraph().build();
    expect([plan.waves(), plan.taskCount(), plan.tasks]).toEqual([[], 0, []]);
    expect(plan).toBeInstanceOf(ExecutionPlan);
  });

  it("takes a dependency that was added twice as one", () => {
    const plan = planOf(
      [idle("a"), idle("b")],
      [
        ["a", "b"],
        ["a", "b"],
      ],
    );
    const [a, b] = plan.tasks;
    expect([a?.before, b?.after]).toEqual([["b"], ["a"]]);
    expect(plan.waves()).toEqual([["a"], ["b"]]);
  });

  it("can be called again after more was added, and leaves the earlier plan as it was", () => {
    const graph = new TaskGraph();
    const a = graph.addTask(idle("a"));
    const before = graph.build();
    graph.addDependency(a, graph.addTask(idle("b")));
    expect([before.waves(), graph.build().waves()]).toEqual([[["a"]], [["a"], ["b"]]]);
  });

  it("gives waves that are the caller's to change", () => {
    const plan = planOf([idle("a")]);
    plan.waves()[0]?.push("intruder");
    expect(plan.waves()).toEqual([["a"]]);
  });

  it("D3: puts every task into exactly one wave, after all of its predecessors, as early as it can be", () => {
    fc.assert(
      fc.property(dags, ({ tasks, edges }) => {
        const plan = planOf(tasks, edges);
        const waves = plan.waves();
        expect(waves.flat().toSorted()).toEqual(tasks.map(({ name }) => name).toSorted());
        const waveOf = new Map(
          waves.flatMap((wave, at) => wave.map((name) => [name, at] as const)),
        );
        for (const { name, after, wave } of plan.tasks) {
          const latest = Math.max(-1, ...after.map((one) => waveOf.get(one) ?? NaN));
          expect([waveOf.get(name), wave]).toEqual([latest + 1, latest + 1]);
        }
        const built = plan.tasks.flatMap(({ name, before }) => before.map((to) => `${name} ${to}`));
        expect(built.toSorted()).toEqual([...new Set(edges.map((e) => e.join(" ")))].toSorted());
      }),
    );
  });
});

describe("TaskGraph.build() refuses a cycle", () => {
  it("of one task, with the path [a, a]", () => {
    expect(pathOf("a", [["a", "a"]])).toEqual(["a", "a"]);
  });

  it("of two behind other tasks, with the closed path", () => {
    const path = pathOf("abcd", [
      ["a", "b"],
      ["b", "d"],
      ["d", "b"],
      ["a", "c"],
    ]);
    expect(path).toEqual(["b", "d", "b"]);
  });

  it("of four among nine, with nothing of the others in the path", () => {
    const path = pathOf("abcdexyzu", [
      ["x", "a"],
      ["a", "b"],
      ["b", "c"],
      ["c", "e"],
      ["e", "a"],
      ["c", "y"],
      ["y", "z"],
    ]);
    expect(path).toEqual(["a", "b", "c", "e", "a"]);
  });

  it("wherever one edge back closes one, with a path of edges that are there", () => {
    fc.assert(
      fc.property(dags, fc.nat(), ({ tasks, edges }, pick) => {
        fc.pre(edges.length > 0);
        const [first, second] = edges[pick % edges.length] as readonly [string, string];
        const all = [...edges, [second, first] as const];
        const path = thrownBy(() => planOf(tasks, all)).details["path"] as string[];
        expect(path.at(-1)).toBe(path[0]);
        expect(new Set(path.slice(1)).size).toBe(path.length - 1);
        const known = new Set(all.map((edge) => edge.join(" ")));
        for (let at = 1; at < path.length; at++)
          expect(known.has(`${path[at - 1]} ${path[at]}`)).toBe(true);
      }),
    );
  });

  it("of 10,000 tasks, without recursion", () => {
    const names = Array.from({ length: 10_000 }, (_, index) => `t${index}`);
    const edges = names.map((name, at) => [name, names[(at + 1) % names.length] ?? ""] as const);
    const error = thrownBy(() =>
      planOf(
        names.map((name) => idle(name)),
        edges,
      ),
    );
    expect(error.details["path"]).toHaveLength(10_001);
  });
});

describe("TaskGraph.build() refuses references", () => {
  it("that nothing makes, and names every one of them", () => {
    const error = thrownBy(() =>
      planOf([
        idle("a", { inputs: [raw("x"), raw("y")] }),
        idle("b", { inputs: [raw("z")] }),
        idle("c", { inputs: [raw("w")], outputs: [raw("z2")] }),
      ]),
    );
    expect(error.code).toBe("UNRESOLVED_REF");
    expect(error.details["refs"]).toEqual(["a.x", "a.y", "b.z", "c.w"]);
  });

  it("to an output of a task that is not before it, and says who makes it", () => {
    const error = thrownBy(() =>
      planOf([idle("maker", { outputs: [raw("x")] }), idle("reader", { inputs: [raw("x")] })]),
    );
    expect(error.code).toBe("UNRESOLVED_REF");
    expect(error.details["refs"]).toEqual(['reader.x (made by "maker", not an ancestor)']);
  });

  it("to an output of a later task, of a sibling's, and of the task's own", () => {
    const tasks = [
      idle("root"),
      idle("left", { outputs: [raw("l")] }),
      idle("right", { inputs: [raw("l")] }),
      idle("own", { inputs: [raw("o")], outputs: [raw("o")] }),
      idle("early", { inputs: [raw("l")] }),
    ];
    const error = thrownBy(() =>
      planOf(tasks, [
        ["root", "left"],
        ["root", "right"],
        ["early", "left"],
      ]),
    );
    expect(error.details["refs"]).toEqual([
      'right.l (made by "left", not an ancestor)',
      'own.o (made by "own", not an ancestor)',
      'early.l (made by "left", not an ancestor)',
    ]);
  });

  it("but not to the output of an ancestor that is several tasks away, by whichever way", () => {
    const tasks = [
      idle("a", { outputs: [raw("x")] }),
      idle("b"),
      idle("c"),
      idle("d", { inputs: [raw("x")] }),
    ];
    const plan = planOf(tasks, [
      ["a", "b"],
      ["b", "c"],
      ["c", "d"],
    ]);
    expect(plan.tasks[3]?.inputs).toEqual([raw("x")]);
  });

  it("exactly where no path leads from the maker to the reader", () => {
    fc.assert(
      fc.property(dags, fc.nat(), fc.nat(), ({ tasks, edges }, make, read) => {
        const maker = `t${make % tasks.length}`;
        const reader = `t${read % tasks.length}`;
        fc.pre(maker !== reader);
        const known = new Set([maker]);
        for (let size = -1; size !== known.size;) {
          size = known.size;
          for (const [first, second] of edges) if (known.has(first)) known.add(second);
        }
        const withData = tasks.map((task) => ({
          ...task,
          ...(task.name === maker ? { outputs: [raw("x")] } : {}),
          ...(task.name === reader ? { inputs: [raw("x")] } : {}),
        }));
        let code = "built";
        try {
          planOf(withData, edges);
        } catch (thrown) {
          code = isFabricError(thrown) ? thrown.code : String(thrown);
        }
        expect(code).toBe(known.has(reader) ? "built" : "UNRESOLVED_REF");
      }),
    );
  });
});

describe("TaskGraph.build() refuses conflicts", () => {
  it("of names, and names each that is taken twice", () => {
    const error = thrownBy(() => planOf(["a", "b", "a", "b", "c", "a"].map((name) => idle(name))));
    expect([error.code, error.details["names"]]).toEqual(["CONFLICT", ["a", "b"]]);
  });

  it("of two producers of one output, also within one task", () => {
    const two = thrownBy(() =>
      planOf([idle("a", { outputs: [raw("x")] }), idle("b", { outputs: [raw("x")] })]),
    );
    expect([two.code, two.details["names"]]).toEqual(["CONFLICT", ["x"]]);
    expect(two.message).toContain('by "a" and "b"');
    const one = thrownBy(() => planOf([idle("a", { outputs: [raw("x"), columns("x")] })]));
    expect(one.code).toBe("CONFLICT");
  });

  it("of the format that is made and the format that is read", () => {
    const error = thrownBy(() =>
      planOf(
        [idle("a", { outputs: [raw("x")] }), idle("b", { inputs: [columns("x")] })],
        [["a", "b"]],
      ),
    );
    expect(error.code).toBe("CONFLICT");
    expect(error.details).toMatchObject({ kind: "format", wanted: "columns", made: "raw" });
  });

  it("but not an input that is named twice alike: it is one input", () => {
    const plan = planOf(
      [idle("a", { outputs: [raw("x")] }), idle("b", { inputs: [raw("x"), raw("x")] })],
      [["a", "b"]],
    );
    expect(plan.tasks[1]?.inputs).toEqual([raw("x")]);
  });
});

describe("TaskGraph.addTask() refuses", () => {
  it.each<[what: string, task: unknown]>([
    ["nothing", undefined],
    ["null", null],
    ["a string", "task"],
    ["no name", { run: noRun }],
    ["an empty name", { name: "", run: noRun }],
    ["a name that is a number", { name: 7, run: noRun }],
    ["no body", { name: "a" }],
    ["a body that is a path", { name: "a", run: "./a.ts" }],
    ["a body that is an object", { name: "a", run: {} }],
    ["negative retries", { name: "a", run: noRun, retries: -1 }],
    ["half a retry", { name: "a", run: noRun, retries: 1.5 }],
    ["retries without end", { name: "a", run: noRun, retries: Infinity }],
    ["retries that are no number", { name: "a", run: noRun, retries: NaN }],
    ["a backoff that is a number", { name: "a", run: noRun, backoff: 100 }],
    ["a backoff that shrinks", { name: "a", run: noRun, backoff: { factor: 0.5 } }],
    ["a backoff with a negative wait", { name: "a", run: noRun, backoff: { delaysMs: [-1] } }],
    ["inputs that are no array", { name: "a", run: noRun, inputs: 5 }],
    ["outputs that are one reference", { name: "a", run: noRun, outputs: raw("x") }],
    ["an input that is null", { name: "a", run: noRun, inputs: [null] }],
    ["an input that is a name", { name: "a", run: noRun, inputs: ["x"] }],
    ["an input without a name", { name: "a", run: noRun, inputs: [{ format: "raw" }] }],
    ["an output with an empty name", { name: "a", run: noRun, outputs: [raw("")] }],
    ["an output without a format", { name: "a", run: noRun, outputs: [{ name: "x" }] }],
    [
      "a format that there is not",
      { name: "a", run: noRun, outputs: [{ name: "x", format: "csv" }] },
    ],
  ])("%s", (_what, task) => {
    const error = thrownBy(() => new TaskGraph().addTask(task as TaskDef));
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).toMatch(/expected .+, got /);
  });
});

describe("TaskGraph.addDependency() refuses", () => {
  it.each([-1, 1, 0.5, NaN, "0", undefined, null])("%s, which is no task of the graph", (id) => {
    const graph = new TaskGraph();
    const own = graph.addTask(idle("a"));
    const foreign = id as unknown as TaskId;
    expect(thrownBy(() => graph.addDependency(own, foreign)).code).toBe("INVALID_ARGUMENT");
    expect(thrownBy(() => graph.addDependency(foreign, own)).code).toBe("INVALID_ARGUMENT");
    expect(graph.build().waves()).toEqual([["a"]]);
  });
});

describe("TaskGraph.build() of 10,000 tasks", () => {
  const count = 10_000;
  const names = Array.from({ length: count }, (_, index) => `t${index}`);
  const made = names.map((name) => idle(name, { outputs: [raw(`o-${name}`)] }));

  it("takes a chain in which each reads the one before and the first of all", () => {
    const tasks = made.map((task, at) => ({
      ...task,
      inputs: at === 0 ? [] : [raw(`o-t${at - 1}`), ...(at % 500 === 2 ? [raw("o-t0")] : [])],
    }));
    const plan = buildInTime(
      tasks,
      names.slice(1).map((name, at) => [names[at] ?? "", name] as const),
    );
    expect(plan.waves()).toHaveLength(count);
    expect(plan.tasks.at(-1)?.wave).toBe(count - 1);
  });

  it("takes a wide graph between two tasks", () => {
    const tasks = [
      idle("first"),
      ...made,
      idle("last", { inputs: made.flatMap((t) => t.outputs ?? []) }),
    ];
    const plan = buildInTime(
      tasks,
      names.flatMap((name) => [["first", name] as const, [name, "last"] as const]),
    );
    expect(plan.waves().map((wave) => wave.length)).toEqual([1, count, 1]);
  });
});
