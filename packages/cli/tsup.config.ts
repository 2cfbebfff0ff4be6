import { packageBuild } from "../../scripts/tsup.ts";

const entry = packageBuild.entry as Readonly<Record<string, string>>;

export default { ...packageBuild, entry: { ...entry, main: "src/main.ts" } };
