import type { Caller } from './api.ts'
import type { Narrator } from './narrator.ts'
import type { Stage } from './stage.ts'

/** What the steps hand on to each other. */
export type Tour = {
  stage: Stage
  narrator: Narrator
  /** Every secret of the tour, so that the last step can look for each of them where none may be. */
  secrets: Set<string>
  as(who: string, key: string): Caller
}
