import { openDirectory } from "./directory.ts";
import type { ObjectStore } from "./object-store.ts";

/** Where objects are, as plain data that a worker thread can be told. */
export type ObjectsPlace = { kind: "directory"; root: string };

/** Opens the object store that `place` tells of; `owner` names its unfinished files. */
export function openObjects(place: ObjectsPlace, owner?: string): Promise<ObjectStore> {
  return openDirectory(place.root, { owner });
}
