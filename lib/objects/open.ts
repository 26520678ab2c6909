import { openDirectory, sweepIncoming } from "./directory.ts";
import type { ObjectStore } from "./object-store.ts";
import type { S3Place } from "./s3-bucket.ts";

/** Where objects are, as plain data that a worker thread can be told. */
export type ObjectsPlace = { kind: "directory"; root: string } | ({ kind: "s3" } & S3Place);

/** Opens the object store that `place` tells of; `owner` names its unfinished files. */
export async function openObjects(place: ObjectsPlace, owner?: string): Promise<ObjectStore> {
  if (place.kind === "directory") return openDirectory(place.root, { owner });
  return (await loadS3()).openS3(place, owner);
}

/** Removes what an owner that had to be ended by force left unfinished. */
export async function sweepUnfinished(place: ObjectsPlace, owner: string): Promise<void> {
  if (place.kind === "directory") return sweepIncoming(place.root, owner);
  return (await loadS3()).sweepS3(place, owner);
}

/** Its SDK takes memory that a node with a directory does not have to spend. */
function loadS3() {
  return import("./s3.ts");
}
