import type { SqlDialect } from "./sql-tokens.ts";

/** Functions by their names without a schema; `pg_ls_*` are all whose names begin so. */
interface Denied {
  /** That the database has by itself. */
  own: readonly string[];
  /** Of extensions, and of other versions. */
  others: readonly string[];
}

const POSTGRESQL: Denied = {
  own: [
    // Files of the server.
    "pg_read_*",
    "pg_ls_*",
    "pg_stat_file",
    "pg_current_logfile",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_show_all_file_settings",
    "lo_*",
    "loread",
    "lowrite",
    // The server and other sessions.
    "pg_cancel_backend",
    "pg_terminate_backend",
    "pg_reload_conf",
    "pg_rotate_logfile*",
    "pg_log_backend_memory_contexts",
    "pg_notify",
    "pg_promote",
    "pg_switch_wal",
    "pg_wal_replay_*",
    "pg_backup_*",
    "pg_create_*",
    "pg_copy_*",
    "pg_drop_*",
    "pg_logical_*",
    "pg_replication_*",
    "pg_export_snapshot",
    "pg_stat_reset*",
    "pg_stat_force_next_flush",
    "pg_import_system_collations",
    "pg_extension_config_dump",
    "pg_nextoid",
    "pg_stop_making_pinned_objects",
    "binary_upgrade_*",
    "brin_summarize_*",
    "brin_desummarize_*",
    "gin_clean_pending_list",
    // The session, and sequences.
    "set_config",
    "setval",
    "nextval",
    // Locks and waits.
    "pg_sleep*",
    "pg_advisory_*",
    "pg_try_advisory_*",
    // Texts that are run as SQL.
    "query_to_xml*",
    "cursor_to_xml*",
    "table_to_xml*",
    "schema_to_xml*",
    "database_to_xml*",
    "ts_stat",
    "ts_rewrite",
  ],
  others: [
    "dblink*",
    "postgres_fdw_*",
    "http",
    "http_*",
    "aws_*",
    "crosstab*",
    "connectby",
    "xpath_table",
    "xslt_process",
    "pg_file_*",
    "pg_logdir_*",
    "pg_background_*",
    "pg_prewarm",
    "autoprewarm_*",
    "pg_buffercache_*",
    "pg_stat_statements_reset",
    "get_raw_page",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_sync_replication_slots",
    "pg_clear_*",
    "pg_restore_*",
  ],
};

const MYSQL: Denied = {
  own: [
    "load_file",
    "sleep",
    "benchmark",
    "get_lock",
    "release_lock",
    "release_all_locks",
    "master_pos_wait",
    "master_gtid_wait",
    "nextval",
    "lastval",
    "setval",
  ],
  others: [
    "source_pos_wait",
    "wait_for_executed_gtid_set",
    "wait_until_sql_thread_after_gtids",
    "service_*",
    "audit_log_*",
    "keyring_*",
    "version_tokens_*",
    "group_replication_*",
    "asynchronous_connection_failover_*",
    "set_firewall_mode",
    "read_firewall_*",
    "mysql_firewall_*",
    "load_rewrite_rules",
    "flush_rewrite_rules",
    "spider_*",
    "sys_exec",
    "sys_eval",
    "sys_get",
    "sys_set",
    "http_*",
  ],
};

const SQLITE: Denied = {
  own: [
    "load_extension",
    // Some pragmas that are read as tables do something.
    "pragma_*",
  ],
  others: ["readfile", "writefile", "edit", "eval", "fsdir", "lsdir", "zipfile", "fts3_tokenizer", "sqlite_dbpage"],
};

/**
 * What no statement of a user may call: functions that reach files, the network, other sessions or the server itself, that
 * run a text as SQL, hold a lock or wait. A read-only transaction stops few of them, and a role may have more rights than
 * it should.
 */
export const DENIED_FUNCTIONS: Readonly<Record<SqlDialect, Denied>> = {
  mysql: MYSQL,
  mariadb: MYSQL,
  postgresql: POSTGRESQL,
  sqlite: SQLITE,
};

/** Whether a name, without its schema, is one of a pattern's. */
export function isOf(pattern: string, name: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** Whether a function may not be called; `name` is without its schema. */
export function isDenied(dialect: SqlDialect, name: string): boolean {
  const { own, others } = DENIED_FUNCTIONS[dialect];
  const known = name.toLowerCase();
  return own.some((pattern) => isOf(pattern, known)) || others.some((pattern) => isOf(pattern, known));
}
