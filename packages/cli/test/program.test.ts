import { describe, expect, it } from "vitest";
import { cli, documentOf, inProcess, start } from "./rig.ts";

describe("selvage", () => {
  it("shows its commands and exit codes when it is asked, and ends well", async () => {
    const { code, stdout } = await cli("--help");
    expect(code).toBe(0);
    for (const name of ["run", "leases", "doctor"]) expect(stdout).toContain(`\n  ${name} `);
    expect(stdout).toContain("Exit codes:");
    const { code: versionCode, stdout: version } = await cli("--version");
    expect([versionCode, version]).toEqual([0, expect.stringMatching(/^\d+\.\d+\.\d+\n$/)]);
  });

  it("shows them also where no command was given, and then ends as a mistake", async () => {
    const { code, stdout, stderr } = await cli();
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toContain("Commands:");
  });

  it.each([
    [["docter"], "unknown command 'docter'", "did you mean doctor?"],
    [["leases"], "missing required argument 'path'", "see `selvage --help`"],
    [
      ["leases", "a", "b"],
      "too many arguments for 'leases'. Expected 1 argument but got 2: a, b.",
      "",
    ],
    [["run", "x.ts", "--raport", "y"], "unknown option '--raport'", "did you mean --report?"],
    [["run", "x.ts", "--ttl-ms", "0"], "Expected a whole number above 0.", ""],
    [["run", "x.ts", "--teardown", "soon"], "Allowed choices are expiry, eager.", ""],
  ])("tells what is wrong with %j, and what was meant", async (args, what, hint) => {
    const { code, stdout, stderr } = await inProcess(...args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^selvage: INVALID_ARGUMENT: /);
    expect(stderr).toContain(what);
    expect(stderr).toContain(hint);
  });

  it("ends quietly when nobody reads on", async () => {
    const running = start(["--help"]);
    running.child.stdout?.destroy();
    expect(await running.ended).toMatchObject({ stderr: "" });
  });

  it("tells a mistake as a document, too, where one was asked for", async () => {
    const ended = await cli("docter", "--json");
    expect(ended.code).toBe(2);
    expect(documentOf(ended)).toMatchObject({
      error: { code: "INVALID_ARGUMENT", hint: "did you mean doctor?" },
    });
  });
});
