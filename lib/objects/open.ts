import { openDirectory, sweepIncoming } from "./directory.ts";
import { DirectoryMultipart } from "./directory-multipart.ts";
import type { DirectoryPresigner } from "./directory-presigner.ts";
import type { Multipart } from "./multipart.ts";
import type { ObjectStore } from "./object-store.ts";
import type { Presigner } from "./presigner.ts";
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

/** How clients reach the objects themselves: at S3, or at a gateway, which `directory` presigns for. */
export async function openPresigned(
  place: ObjectsPlace,
  objects: ObjectStore,
  directory: DirectoryPresigner,
): Promise<{ presigner: Presigner; multipart: Multipart }> {
  if (place.kind === "directory") {
    return { presigner: directory, multipart: new DirectoryMultipart(objects, directory) };
  }
  const [{ S3Presigner }, { S3Multipart }] = await Promise.all([
    import("./s3-presigner.ts"),
    import("./s3-multipart.ts"),
  ]);
  const presigner = new S3Presigner(place);
  return { presigner, multipart: new S3Multipart(place, presigner) };
}

/** Its SDK takes memory that a node with a directory does not have to spend. */
function loadS3() {
  return import("./s3.ts");
}
