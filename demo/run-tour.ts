import { createCaller } from './api.ts'
import { connectByAccessToken, connectByOAuth, prepare } from './connecting.ts'
import type { Narrator } from './narrator.ts'
import { lookUp, outliveToken, showCiphertext, showLeaksNothing } from './scanning.ts'
import type { Stage } from './stage.ts'
import type { Tour } from './tour.ts'

/** The main job from an empty database to a second clone; throws when a step does not do what it says. */
export const runTour = async (stage: Stage, narrator: Narrator): Promise<void> => {
  const tour: Tour = {
    stage,
    narrator,
    secrets: new Set([stage.adminKey]),
    as: (who, key) => createCaller(narrator, stage.brokerUrl, who, key),
  }
  const { platform, scanner } = await prepare(tour)
  const maria = await connectByOAuth(tour, platform)
  const tom = await connectByAccessToken(tour, platform)
  await showCiphertext(tour, maria, 1)
  const credential = await lookUp(tour, scanner, { maria, tom })
  await outliveToken(tour, scanner, credential)
  await showLeaksNothing(tour)
}
