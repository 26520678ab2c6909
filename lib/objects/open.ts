import { openDirectory, sweepIncoming } from "./directory.ts";
import type { ObjectStore } from "./object-store.ts";

/** Where objects are, as plain data that a worker thread can be told. */
export type ObjectsPlace = { kind: "directory"; root: string };

/** Opens the object store that `place` tells of; `owner` names its unfinished files. */
export function openObjects(place: ObjectsPlace, owner?: string): Promise<ObjectStore> {
  return openDirectory(place.root, { owner });
}

/** Removes what an owner that had to be ended by force left unfinished. */
export function sweepUnfinished(place: ObjectsPlace, owner: string): Promise<void> {
  return sweepIncoming(place.root, owner);
}
