/** What the names of migrations say of a database; pure. */

export type SchemaState =
  /** Migrations of ours are missing, none or all. */
  | { kind: 'to_migrate'; missing: string[] }
  | { kind: 'current' }
  /** A newer version was here, and says that this one can live with what it did. */
  | { kind: 'newer'; unknown: string[] }
  | { kind: 'unusable'; reason: string }

/**
 * @param applied names of the migrations in the database.
 * @param ours names of those that this version brings along.
 * @param oldestNeighbour the migration that a version must know to live with the schema; undefined = any version can.
 */
export const judgeSchema = (
  applied: string[],
  ours: string[],
  oldestNeighbour: string | undefined,
): SchemaState => {
  const unknown = applied.filter((name) => !ours.includes(name))
  const missing = ours.filter((name) => !applied.includes(name))
  if (unknown.length === 0)
    return missing.length === 0 ? { kind: 'current' } : { kind: 'to_migrate', missing }
  if (missing.length > 0) {
    const reason = `The database has the migrations ${unknown.join(', ')}, which this version does not know, and lacks ${missing.join(', ')}: it belongs to another line of versions.`
    return { kind: 'unusable', reason }
  }
  if (oldestNeighbour !== undefined && !ours.includes(oldestNeighbour)) {
    const reason = `A newer version migrated the database (${unknown.join(', ')}), and only versions that know ${oldestNeighbour} can work on it. Start a newer version.`
    return { kind: 'unusable', reason }
  }
  return { kind: 'newer', unknown }
}
