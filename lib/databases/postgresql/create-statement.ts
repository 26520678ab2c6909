import { failedPrecondition } from "../../errors.ts";
import type { PostgresTable } from "./catalogue.ts";
import type { Session } from "./session.ts";
import { ask, quote } from "./session.ts";

/**
 * The statements that make a table or view, its constraints, indexes and comments, put together from the catalogue: PostgreSQL
 * itself tells none. What is found without its schema is named without it, so that they can be run in another one.
 */
export async function createStatement(session: Session, table: PostgresTable): Promise<string> {
  const name = table.isDefault ? quote(table.name) : table.sql;
  const statements = await ofKind(session, table, name);
  return [...statements, ...(await comments(session, table, name))].map((statement) => `${statement};`).join("\n");
}

async function ofKind(session: Session, table: PostgresTable, name: string): Promise<string[]> {
  switch (table.kind) {
    case "v":
    case "m":
      return view(session, table, name);
    case "r":
    case "p":
      return ordinary(session, table, name);
    default:
      throw failedPrecondition(`${table.name} is a foreign table: there is no statement for it`);
  }
}

async function view(session: Session, { oid, kind }: PostgresTable, name: string): Promise<string[]> {
  const [[definition] = []] = await ask(session, "SELECT pg_get_viewdef($1::oid, true)", [oid]);
  const create = `CREATE ${kind === "m" ? "MATERIALIZED VIEW" : "VIEW"} ${name} AS\n${definition!.replace(/;\s*$/, "")}`;
  return [create, ...(await indexes(session, oid))];
}

async function ordinary(session: Session, table: PostgresTable, name: string): Promise<string[]> {
  const { oid, kind } = table;
  const lines = [...(await columnLines(session, oid)), ...(await constraintLines(session, oid))];
  const [[partitioned] = []] = kind === "p" ? await ask(session, "SELECT pg_get_partkeydef($1::oid)", [oid]) : [];
  const options = await ask(
    session,
    "SELECT relpersistence, array_to_string(reloptions, ', ') FROM pg_class WHERE oid = $1::oid",
    [oid],
  );
  const [persistence, parameters] = options[0]!;
  const create = [
    `CREATE ${persistence === "u" ? "UNLOGGED " : ""}TABLE ${name} (\n  ${lines.join(",\n  ")}\n)`,
    ...(partitioned ? [` PARTITION BY ${partitioned}`] : []),
    ...(parameters ? [` WITH (${parameters})`] : []),
  ].join("");
  const sequences = await ownedSequences(session, table);
  return [
    ...sequences.map(({ create: sequence }) => sequence),
    create,
    ...sequences.map(({ sequence, column }) => `ALTER SEQUENCE ${sequence} OWNED BY ${name}.${quote(column)}`),
    ...(await indexes(session, oid)),
  ];
}

async function columnLines(session: Session, oid: string): Promise<string[]> {
  const found = await ask(
    session,
    `SELECT quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0
          THEN (SELECT ' COLLATE ' || quote_ident(n.nspname) || '.' || quote_ident(c.collname)
                FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.oid = a.attcollation) ELSE '' END
       || CASE WHEN a.attgenerated = 's' THEN ' GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') STORED'
               WHEN a.attgenerated = 'v' THEN ' GENERATED ALWAYS AS (' || pg_get_expr(d.adbin, d.adrelid) || ') VIRTUAL'
               WHEN d.adbin IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) ELSE '' END
       || CASE a.attidentity WHEN '' THEN '' ELSE ' GENERATED ' || CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END
          || ' AS IDENTITY' || (SELECT format(' (START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s)', q.seqstart,
             q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END)
             FROM pg_sequence q WHERE q.seqrelid = pg_get_serial_sequence($1::oid::regclass::text, a.attname)::regclass) END
       || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
    [oid],
  );
  return found.map(([line]) => line!);
}

/** Not those of NOT NULL, which a column has itself, nor the triggers that are constraints. */
async function constraintLines(session: Session, oid: string): Promise<string[]> {
  const found = await ask(
    session,
    `SELECT 'CONSTRAINT ' || quote_ident(conname) || ' ' || pg_get_constraintdef(oid, true)
     FROM pg_constraint WHERE conrelid = $1::oid AND contype IN ('p', 'u', 'c', 'f', 'x')
     ORDER BY array_position(ARRAY['p', 'u', 'c', 'x', 'f']::"char"[], contype), conname`,
    [oid],
  );
  return found.map(([line]) => line!);
}

/** Those that no constraint makes. */
async function indexes(session: Session, oid: string): Promise<string[]> {
  const found = await ask(
    session,
    `SELECT pg_get_indexdef(i.indexrelid, 0, true) FROM pg_index i
     WHERE i.indrelid = $1::oid AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.conrelid = i.indrelid)
     ORDER BY i.indexrelid::regclass::text`,
    [oid],
  );
  return found.map(([statement]) => statement!);
}

/** The sequences of `serial` columns: their defaults name them. */
async function ownedSequences(session: Session, { oid, isDefault }: PostgresTable) {
  const found = await ask(
    session,
    `SELECT n.nspname, s.relname, a.attname, format('AS %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s',
       format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache,
       CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END)
     FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n ON n.oid = s.relnamespace
     JOIN pg_sequence q ON q.seqrelid = s.oid JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid AND d.deptype = 'a'
     ORDER BY a.attnum`,
    [oid],
  );
  return found.map(([schema, name, column, options]) => {
    const sequence = isDefault ? quote(name!) : `${quote(schema!)}.${quote(name!)}`;
    return { sequence, column: column!, create: `CREATE SEQUENCE ${sequence} ${options}` };
  });
}

async function comments(session: Session, { oid, kind }: PostgresTable, name: string): Promise<string[]> {
  const found = await ask(
    session,
    `SELECT a.attname, quote_literal(d.description) FROM pg_description d
     LEFT JOIN pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid AND d.objsubid > 0
     WHERE d.classoid = 'pg_class'::regclass AND d.objoid = $1::oid ORDER BY d.objsubid`,
    [oid],
  );
  const kinds: Readonly<Record<string, string>> = { v: "VIEW", m: "MATERIALIZED VIEW" };
  return found.map(([column, text]) =>
    column === null
      ? `COMMENT ON ${kinds[kind] ?? "TABLE"} ${name} IS ${text}`
      : `COMMENT ON COLUMN ${name}.${quote(column!)} IS ${text}`,
  );
}
