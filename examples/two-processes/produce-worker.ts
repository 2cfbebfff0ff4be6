/** `produce-worker.ts FOLDER`: sends the feed, and goes on where it was when it is started again. */
import { BlockEdgeProducer } from "selvage";
import { EDGE, flightCodec, openOwn, openPeer, readFlights } from "./feed.ts";

const [folder = "."] = process.argv.slice(2);
await using fabric = openOwn(folder, "producer");
await using edge = await BlockEdgeProducer.open(fabric, EDGE, {
  codec: flightCodec,
  peer: () => openPeer(folder, "consumer"),
});
const flights = readFlights();
for (let next = edge.nextSequence; next < flights.length; next++) {
  const flight = flights[next];
  if (flight !== undefined) await edge.send(flight);
}
await edge.close();
