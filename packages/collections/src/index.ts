/**
 * Collections that live in leases: queues between threads, hash maps, key-value stores, and durable values.
 *
 * @packageDocumentation
 */
export { Durable } from "./durable.ts";
