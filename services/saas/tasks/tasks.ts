/** The service's bulk loads: what they need, and what its worker does. */
import { configOf } from "../../../lib/config.ts";
import { openObjects } from "../../../lib/objects/open.ts";
import { objectsPlace } from "../../../lib/objects/place.ts";
import type { Job } from "../../../mixins/worker.mixin.ts";
import type { This } from "../saas.service.ts";
import { Attendant } from "./attendant.ts";
import { BlockStore } from "./block-store.ts";
import { LoadStore } from "./load-store.ts";
import { runLoad } from "./run-load.ts";
import { TaskCommands } from "./task-commands.ts";
import { TaskStore } from "./task-store.ts";

export async function openTasks(service: This): Promise<void> {
  const config = configOf(service.broker);
  service.objects = await openObjects(objectsPlace(config));
  service.tasks = await TaskStore.open(service.datastore);
  service.blocks = await BlockStore.open(service.datastore, service.objects);
  service.loads = await LoadStore.open(service.datastore);
  service.attendant = new Attendant(service);
  const { saasBlockMin: blockMin, saasBlockMax: blockMax, saasTaskMax: taskMax, saasTasks: tasks } = config;
  service.taskCommands = new TaskCommands({
    tasks: service.tasks,
    blocks: service.blocks,
    attendant: service.attendant,
    limits: { blockMin, blockMax, taskMax, tasks },
  });
  service.attendant.start();
}

/** Answers a LoadResult in JSON; nothing where the load is nobody's any more. */
export async function runTask(service: This, { input, signal, progress }: Job): Promise<string> {
  const { id, run } = JSON.parse(input) as { id: string; run: string };
  const found = await service.tasks.find(id);
  const task = found && (await service.tasks.whole(found));
  if (task?.run !== run || task.state !== "RUNNING")
    return JSON.stringify({ lines: 0, badLines: 0, bytes: 0, status: "" });
  const { broker, records, loads, blocks, objects } = service;
  const config = configOf(broker);
  const needs = { records, loads, blocks, objects, objectsPlace: objectsPlace(config), maxBad: config.saasBadLines };
  const result = await runLoad(task, needs, {
    signal,
    onProgress: (at) => {
      // 100 is for what is done.
      progress(Math.min(99, (at.bytes / task.size) * 100), JSON.stringify(at), { done: at.bytes, total: task.size });
    },
  });
  return JSON.stringify(result);
}
