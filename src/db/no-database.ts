import { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } from 'kysely'
import type { OpenDatabase } from './database.ts'
import type { Tables } from './tables.ts'

/** For an application that is described and never called: every statement finds no rows. */
export const openNoDatabase = (): Pick<OpenDatabase, 'db' | 'runPrepared'> => ({
  db: new Kysely<Tables>({
    dialect: {
      createAdapter: () => new PostgresAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: (db) => new PostgresIntrospector(db),
      createQueryCompiler: () => new PostgresQueryCompiler(),
    },
  }),
  runPrepared: () => Promise.resolve([]),
})
