// Breaks one rule as its source file is loaded: the mutant that SELVAGE_MUTANT names, as `CAMPAIGN: NAME`. For `--import`.
import { registerHooks } from "node:module";
import { pathToFileURL } from "node:url";
import { mutants } from "../../test/campaigns/mutants.ts";
import { ROOT } from "../command.ts";

const name = process.env["SELVAGE_MUTANT"];
const mutant = mutants.find((one) => `${one.campaign}: ${one.name}` === name);
if (mutant === undefined) throw new Error(`SELVAGE_MUTANT names no mutant: ${name}`);
const { file, find, replace } = mutant;
const broken = pathToFileURL(`${ROOT}/${file}`).href;

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (url !== broken) return loaded;
    const source = Buffer.from(/** @type {Uint8Array} */ (loaded.source)).toString();
    const parts = source.split(find);
    if (parts.length !== 2)
      throw new Error(`mutant ${name}: its text stands ${parts.length - 1} times in ${file}`);
    return { ...loaded, source: parts.join(replace) };
  },
});
