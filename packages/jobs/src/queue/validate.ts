/** Arguments, held against their task's schema. */
import { FabricError } from "@selvage/fabric";
import type { StandardSchema } from "./queue-options.ts";

/** What the schema makes of the arguments. @throws FabricError `INVALID_ARGUMENT`, with what it says of them. */
export async function validate(
  task: string,
  schema: StandardSchema<readonly unknown[]>,
  args: readonly unknown[],
): Promise<readonly unknown[]> {
  const result = await schema["~standard"].validate(args);
  if (result.issues === undefined) return result.value;
  const issues = result.issues.map(({ message }) => message);
  throw new FabricError("INVALID_ARGUMENT", `arguments of "${task}": ${issues.join("; ")}`, {
    task,
    issues,
  });
}
