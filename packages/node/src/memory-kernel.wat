;; The kernel of a shared memory. What JavaScript does slowly on shared bytes, done by single instructions:
;; bulk copy and fill, and atomics without a builtin call. `memory-kernel.ts` carries this module assembled;
;; `test/memory-kernel.test.ts` assembles it again and compares.
;;
;; Every address is in bytes and unsigned, so a JavaScript number from 0 to 2^32 - 1 passes as it is. An access
;; outside the memory, or an atomic one that is not aligned to its size, traps.
(module
  ;; 65,536 pages of 64 KiB: the 4 GiB that 32 bits address. Any smaller shared memory fits the import too.
  (import "host" "memory" (memory 0 65536 shared))

  (func (export "copy") (param $target i32) (param $source i32) (param $length i32)
    (memory.copy (local.get $target) (local.get $source) (local.get $length)))

  (func (export "fill") (param $offset i32) (param $value i32) (param $length i32)
    (memory.fill (local.get $offset) (local.get $value) (local.get $length)))

  (func (export "load") (param $address i32) (result i32)
    (i32.atomic.load (local.get $address)))

  (func (export "store") (param $address i32) (param $value i32)
    (i32.atomic.store (local.get $address) (local.get $value)))

  (func (export "add") (param $address i32) (param $delta i32) (result i32)
    (i32.atomic.rmw.add (local.get $address) (local.get $delta)))

  (func (export "exchange") (param $address i32) (param $value i32) (result i32)
    (i32.atomic.rmw.xchg (local.get $address) (local.get $value)))

  (func (export "compareExchange")
    (param $address i32) (param $expected i32) (param $replacement i32) (result i32)
    (i32.atomic.rmw.cmpxchg
      (local.get $address) (local.get $expected) (local.get $replacement)))

  ;; 64 bits in one step, low word first. The halves are joined here, because an i64 parameter would have to be a
  ;; BigInt in JavaScript, allocated anew at each call. Returns 1 if the pair was replaced, else 0.
  (func (export "compareExchangePair")
    (param $address i32)
    (param $expectedLow i32) (param $expectedHigh i32) (param $low i32) (param $high i32)
    (result i32)
    (local $expected i64)
    (local.set $expected
      (i64.or
        (i64.extend_i32_u (local.get $expectedLow))
        (i64.shl (i64.extend_i32_u (local.get $expectedHigh)) (i64.const 32))))
    (i64.eq
      (local.get $expected)
      (i64.atomic.rmw.cmpxchg
        (local.get $address)
        (local.get $expected)
        (i64.or
          (i64.extend_i32_u (local.get $low))
          (i64.shl (i64.extend_i32_u (local.get $high)) (i64.const 32)))))))
