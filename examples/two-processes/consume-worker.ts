/** `consume-worker.ts FOLDER`: stores what comes, each flight once, and goes on where it was when it is started again. */
import { BlockEdgeConsumer } from "selvage";
import { EDGE, flightCodec, openOwn, openPeer } from "./feed.ts";
import { FlightSink } from "./sink.ts";

/** Flights that are stored by one transaction, and acknowledged together. */
const BATCH = 200;

const [folder = "."] = process.argv.slice(2);
await using fabric = openOwn(folder, "consumer");
using sink = new FlightSink(folder);
await using edge = await BlockEdgeConsumer.open(fabric, EDGE, {
  codec: flightCodec,
  peer: () => openPeer(folder, "producer"),
});
let begun = 0;
for await (const flight of edge) {
  // Stored with its number: what comes again after a crash is known.
  sink.add(edge.sequence, flight);
  if (++begun % BATCH !== 0) continue;
  sink.commit();
  await edge.acknowledge();
}
sink.commit();
await edge.acknowledge();
