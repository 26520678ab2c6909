import type { TableColumn } from "../database.ts";
import type { KnownTable } from "../selection.ts";
import { noSuchTable } from "../selection.ts";
import type { Session } from "./session.ts";
import { ask, quote } from "./session.ts";

export interface PostgresTable extends KnownTable {
  oid: string;
  schema: string;
  name: string;
  /** Whether it is found without its schema. */
  isDefault: boolean;
  /** `r`, `v`, … of pg_class. */
  kind: string;
}

/** Tables, views, materialized views, foreign and partitioned tables. */
const RELATIONS = "c.relkind IN ('r', 'v', 'm', 'f', 'p')";

/** The name of a relation, with its schema where that is not the default one. */
const NAME = "CASE WHEN n.nspname = current_schema() THEN c.relname ELSE n.nspname || '.' || c.relname END";

export async function readableTables(session: Session): Promise<string[]> {
  const found = await ask(
    session,
    `SELECT ${NAME} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${RELATIONS} AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
       AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')`,
  );
  return found.map(([name]) => name!).toSorted();
}

export async function findTable(session: Session, table: string): Promise<PostgresTable> {
  const [found] = await ask(
    session,
    `SELECT c.oid, n.nspname, c.relname, n.nspname = current_schema(), c.relkind
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${RELATIONS} AND (${NAME} = $1 OR n.nspname || '.' || c.relname = $1)
     ORDER BY ${NAME} = $1 DESC LIMIT 1`,
    [table],
  );
  if (!found) throw noSuchTable(table);
  const [oid, schema, name, isDefault, kind] = found as string[];
  return {
    oid: oid!,
    schema: schema!,
    name: name!,
    isDefault: isDefault === "t",
    kind: kind!,
    sql: `${quote(schema!)}.${quote(name!)}`,
    columns: await columnsOfTable(session, oid!),
  };
}

async function columnsOfTable(session: Session, oid: string): Promise<TableColumn[]> {
  const found = await ask(
    session,
    `SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
       col_description(a.attrelid, a.attnum)
     FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [oid],
  );
  return found.map(([name, type, nullable, standard, isKey, comment]) => ({
    name: name!,
    type: type!,
    nullable: nullable === "t",
    ...(standard === null ? {} : { default: standard }),
    key: isKey === "t" ? "PRI" : "",
    ...(comment === null ? {} : { comment }),
  }));
}
