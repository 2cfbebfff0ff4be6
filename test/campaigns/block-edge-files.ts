/** Another process's file, as its neighbour reads it: sector by sector, whatever is being written there meanwhile. */
import type { Disk, DiskRequest } from "@selvage/fabric";
import { SECTOR_BYTES, sometimes, type SimNode } from "@selvage/sim";

const refuse = (): never => {
  throw new Error("EBADF: open for reading only");
};

/** Opens files of `owner`'s disk on `node`. Whoever has one open when the owner's power fails has to open it anew. */
export function peerDisk(node: SimNode, owner: SimNode): (request: DiskRequest) => Disk {
  return (request) => {
    const file = owner.disks.open({ ...request, access: "read" });
    const { incarnation } = owner;
    return {
      readNow: (offset, target) => file.readNow(offset, target),
      read: async (offset, target) => {
        if (owner.incarnation !== incarnation)
          throw new Error("ESTALE: its machine was started anew");
        await node.sleep(node.random.between(1, 2));
        const isTorn = node.random.chance(1, 4);
        const middle = isTorn ? Math.min(SECTOR_BYTES, target.length) : 0;
        const before = middle === 0 ? 0 : file.readNow(offset, target.subarray(0, middle));
        if (isTorn) await node.sleep(node.random.spread(1, 20));
        sometimes("a file was read while it was being written", isTorn);
        return before + file.readNow(offset + before, target.subarray(before));
      },
      write: refuse,
      sync: refuse,
      truncate: refuse,
      close: () => file.close(),
    };
  };
}
