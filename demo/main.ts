import { createCaller } from './api.ts'
import { TourError } from './expect.ts'
import { createNarrator } from './narrator.ts'
import { runTour } from './run-tour.ts'
import { type Stage, setStage } from './stage.ts'

const INTERRUPTED = 130

const once = process.argv.includes('--once')
const narrator = createNarrator((text) => process.stdout.write(text))
let stage: Stage | undefined
let ending = false

const end = async (exitCode: number): Promise<void> => {
  if (ending) return
  ending = true
  await stage?.close()
  process.exit(exitCode)
}

const describe = (error: unknown): string => {
  if (error instanceof TourError) return error.message
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}

/** What somebody needs who goes on by hand. */
const inviteToStay = async ({ brokerUrl, adminKey, simulator, databaseName }: Stage): Promise<void> => {
  const quiet = createNarrator(() => undefined)
  const admin = createCaller(quiet, brokerUrl, 'admin', adminKey)
  const session = await admin.call(201, 'POST', '/v1/connect-sessions', { organization: 'acme' })
  narrator.line()
  narrator.title('Both stay up. Go on in the browser:')
  narrator.fields({
    'Connect an account': session.url,
    'Swagger UI': `${brokerUrl}/docs`,
    'Admin access key': adminKey,
    GitLab: `${simulator.url} (maria and tom sign in without a password)`,
    Database: databaseName,
  })
  narrator.line()
  narrator.say('Ctrl-C ends both and removes what they wrote.')
}

process.on('SIGINT', () => void end(stage && !once ? 0 : INTERRUPTED))
process.on('SIGTERM', () => void end(stage && !once ? 0 : INTERRUPTED))

try {
  narrator.title('gitlab-token-broker: the main job, step by step')
  stage = await setStage(process.env)
  narrator.fields({
    broker: stage.brokerUrl,
    'simulated GitLab': stage.simulator.url,
    database: stage.databaseName,
  })
  await runTour(stage, narrator)
  narrator.line()
  narrator.title('Every step did what it says.')
  if (once) await end(0)
  else await inviteToStay(stage)
} catch (error) {
  if (!ending) {
    narrator.failed(describe(error))
    await end(1)
  }
}
