/** Memories whose every access a test sees: it stops a thread there, or lets another one run in between. */
import {
  bufferMemoryProvider,
  type ArenaMemory,
  type MemoryProvider,
  type SharedWords,
} from "@selvage/fabric";

/** What happens at accesses. */
export interface Watch {
  /** Called before each access to the watched memory, unless undefined. */
  before: (() => void) | undefined;
}

/** A provider whose memories tell `watch` of every atomic, and of every plain word read or written. */
export function watchedProvider(watch: Watch): MemoryProvider {
  const wrap = (memory: ArenaMemory): ArenaMemory => {
    const { words } = memory;
    const plain = new Proxy(memory.plain, {
      get(target, name) {
        if (typeof name === "string" && /^\d+$/.test(name)) watch.before?.();
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
      set(target, name, value) {
        watch.before?.();
        return Reflect.set(target, name, value, target);
      },
    });
    return {
      kind: memory.kind,
      byteLength: memory.byteLength,
      bytes: memory.bytes,
      plain,
      words: seenWords(words, watch),
      handle: memory.handle,
      copyWithin: (target, source, length) => memory.copyWithin(target, source, length),
      fill: (offset, value, length) => memory.fill(offset, value, length),
    };
  };
  return {
    reserve: (byteLength, options) => wrap(bufferMemoryProvider.reserve(byteLength, options)),
    attach: (handle, byteLength) => wrap(bufferMemoryProvider.attach(handle, byteLength)),
  };
}

function seenWords(words: SharedWords, watch: Watch): SharedWords {
  return new Proxy(words, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      return (...given: unknown[]) => {
        watch.before?.();
        return Reflect.apply(member, target, given) as unknown;
      };
    },
  });
}
