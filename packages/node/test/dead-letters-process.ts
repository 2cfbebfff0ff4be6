// Replays the letters of a file, writes down what it takes, and is killed inside its sink at the byte that it is told.
import { writeSync } from "node:fs";
import { DeadLetters, SqliteDeadLetterStore } from "@selvage/node";

const [path = "", last = ""] = process.argv.slice(2);
const letters = new DeadLetters(new SqliteDeadLetterStore(path));
letters.register("a", ([n]) => {
  writeSync(1, `${n}\n`);
  if (n === Number(last)) process.kill(process.pid, "SIGKILL");
});
await letters.replay();
