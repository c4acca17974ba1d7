/**
 * The history of changes that a database follows: a promoted standby and a restore to a point in time begin another one,
 * and a restored database has another id. What was confirmed on one lineage may be missing on the next.
 */
export type Lineage = {
  /** As the last new connection found it; undefined = no server told. */
  current(): string | undefined
  /** @param found by a connection that was just opened, before anything is asked on it; undefined = it does not tell. */
  found(lineage: string | undefined): void
  /** @param listener is called when a connection finds another lineage than the one before it. */
  onChange(listener: () => void): void
}

export const createLineage = (): Lineage => {
  const listeners: (() => void)[] = []
  let current: string | undefined
  return {
    current: () => current,
    found(lineage) {
      if (lineage === undefined || lineage === current) return
      const isFirst = current === undefined
      current = lineage
      if (!isFirst) for (const listener of listeners) listener()
    },
    onChange(listener) {
      listeners.push(listener)
    },
  }
}

/** Only PostgreSQL itself tells: the id of the database, and the timeline that its server writes. */
const LINEAGE = `
  select pg_database.oid || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) as lineage
  from pg_database where datname = current_database()`

/** @returns undefined when the server does not tell; that it is a standby was seen before. */
export const readLineage = async ({
  query,
}: {
  query(text: string): Promise<{ rows: unknown[] }>
}): Promise<string | undefined> => {
  try {
    const [row] = (await query(LINEAGE)).rows as { lineage: string }[]
    return row?.lineage
  } catch {
    return undefined
  }
}
