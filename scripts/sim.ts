import { parseArgs } from "node:util";

const MESSAGE = "not yet: the simulator comes with its own issue";

const { values } = parseArgs({
  options: { json: { type: "boolean", default: false } },
  strict: false,
});

process.stdout.write(
  values.json ? `${JSON.stringify({ status: "not yet", message: MESSAGE })}\n` : `${MESSAGE}\n`,
);
