/** What a user may ask of MongoDB: an aggregation that reads collections, or a filter; both as EJSON. */
import { EJSON } from "bson";
import { SqlProblem } from "./sql-problem.ts";

/** MongoDB's own bound on documents. */
const MAX_DEPTH = 100;

const FIELDS = new Set(["aggregate", "pipeline", "collation", "hint", "let"]);

/** Stages that read; not those that write, watch, or tell of the server. */
const STAGES = new Set([
  "$addFields",
  "$bucket",
  "$bucketAuto",
  "$count",
  "$densify",
  "$documents",
  "$facet",
  "$fill",
  "$geoNear",
  "$graphLookup",
  "$group",
  "$limit",
  "$lookup",
  "$match",
  "$project",
  "$redact",
  "$replaceRoot",
  "$replaceWith",
  "$sample",
  "$search",
  "$searchMeta",
  "$set",
  "$setWindowFields",
  "$skip",
  "$sort",
  "$sortByCount",
  "$unionWith",
  "$unset",
  "$unwind",
  "$vectorSearch",
]);

/** Operators that run JavaScript on the server. */
const CODE = new Set(["$where", "$function", "$accumulator"]);

type Fields = Record<string, unknown>;

/** Throws a SqlProblem where it is not `{"aggregate": "a collection", "pipeline": […]}` of stages that read. */
export function checkAggregation(text: string): void {
  const command = parseObject(text);
  for (const name of Object.keys(command)) {
    if (!FIELDS.has(name)) throw new SqlProblem(`has the unknown field ${JSON.stringify(name.slice(0, 50))}`);
  }
  if (typeof command["aggregate"] !== "string" || command["aggregate"] === "") {
    throw new SqlProblem(`must have the name of a collection as "aggregate"`);
  }
  checkPipeline(command["pipeline"], "pipeline");
}

/** Throws a SqlProblem where it is not the filter of a find. */
export function checkMongodbFilter(text: string): void {
  parseObject(text);
}

function parseObject(text: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SqlProblem(`is not JSON (${(error as Error).message.slice(0, 200)})`, { cause: error });
  }
  if (!isFields(value)) throw new SqlProblem("must be a JSON object");
  checkOperators(value, 1);
  try {
    EJSON.parse(text);
  } catch (error) {
    throw new SqlProblem(`is not EJSON (${(error as Error).message.slice(0, 200)})`, { cause: error });
  }
  return value;
}

function checkOperators(value: unknown, depth: number): void {
  if (typeof value !== "object" || value === null) return;
  if (depth > MAX_DEPTH) throw new SqlProblem(`is nested deeper than ${MAX_DEPTH}`);
  for (const [key, item] of Object.entries(value)) {
    if (CODE.has(key)) throw new SqlProblem(`must not run JavaScript on the server (${key})`);
    if (key === "$code") throw new SqlProblem("must not hold JavaScript ($code)");
    checkOperators(item, depth + 1);
  }
}

function checkPipeline(pipeline: unknown, path: string): void {
  if (!Array.isArray(pipeline)) throw new SqlProblem(`must have an array of stages as ${JSON.stringify(path)}`);
  for (const [index, stage] of pipeline.entries()) checkStage(stage, `${path}[${index}]`);
}

function checkStage(stage: unknown, path: string): void {
  const [name, ...more] = isFields(stage) ? Object.keys(stage) : [];
  if (name === undefined || more.length > 0) throw new SqlProblem(`${path} must be an object with one stage`);
  if (!STAGES.has(name)) throw new SqlProblem(`${path} must be a stage that reads, and is ${name.slice(0, 50)}`);
  const argument = (stage as Fields)[name];
  if (!isFields(argument)) return;
  if (name === "$facet") {
    for (const [facet, pipeline] of Object.entries(argument)) checkPipeline(pipeline, `${path}.$facet.${facet}`);
  } else if ((name === "$lookup" || name === "$unionWith") && argument["pipeline"] !== undefined) {
    checkPipeline(argument["pipeline"], `${path}.${name}.pipeline`);
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
