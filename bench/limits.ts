import { startBroker } from './server-process.ts'
import { measureThroughput, type Scene, type ThroughputTable, targetsOf, warmUp } from './throughput.ts'

/** What limits and load shedding cost a lookup: (c) of two brokers, one as it is by default, one without any limit. */

const OFF = {
  LIMIT_REQUESTS: '0',
  LIMIT_CONNECT_SESSIONS: '0',
  LIMIT_FLOW_STARTS: '0',
  LIMIT_TOKEN_CHECKS: '0',
  LIMIT_WRONG_KEYS: '0',
  LIMIT_FAILED_SIGN_INS: '0',
  LIMIT_SOCKETS_PER_ADDRESS: '0',
  LIMIT_SOCKETS: '0',
  LIMIT_LATE_MS: '0',
}
const CONNECTIONS = 32

export const measureLimits = async (
  env: Record<string, string>,
  scene: Scene,
  plan: { rounds: number; seconds: number },
): Promise<ThroughputTable> => {
  const limited = await startBroker(env)
  const unlimited = await startBroker({ ...env, ...OFF })
  try {
    const targets = {
      'with limits': targetsOf(limited, scene).c,
      'without limits': targetsOf(unlimited, scene).c,
    }
    await warmUp(targets)
    return await measureThroughput(targets, { connections: [CONNECTIONS], ...plan })
  } finally {
    for (const broker of [limited, unlimited]) await broker.stop()
  }
}
