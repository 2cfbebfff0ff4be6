/** Counts primes on threads that come and go: see docs/recipes/pop-up-pool.md. */
import { popUp } from "./pop-up.ts";

const { primes, chunks, leases } = await popUp();
console.log(`${primes} primes in ${chunks} chunks, ${leases} leases left`);

// 40005 primes in 24 chunks, 0 leases left
