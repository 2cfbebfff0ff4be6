import { expect, it } from "vitest";
import { runTwo } from "../../examples/two-processes/main.ts";

const kills = 200;

it("E3: two processes and the edge between them, killed with SIGKILL 200 times", async () => {
  let killed = 0;
  let runs = 0;
  while (killed < kills) {
    const totals = await runTwo(kills - killed, () => 100 + Math.random() * 900);
    expect(totals).toMatchObject({ isRight: true, rows: 20_000 });
    killed += totals.kills;
    runs++;
  }
  console.log(`${killed} processes killed in ${runs} runs, every one to the same end`);
});
