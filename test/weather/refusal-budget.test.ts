import pino from 'pino'
import t from 'tap'
import { createRefusalBudget, REFUSAL_BUDGET, WINDOW_SECONDS } from '../../src/weather/refusal-budget.ts'
import { setStage } from '../support/broker.ts'

const MINUTE = 60

t.test('a refusal counts for three minutes, whenever it came within its minute', async (t) => {
  for (const second of [0, 1, 29, 59]) {
    const { broker, clock, instanceId } = await setStage(t)
    const budget = () => createRefusalBudget({ db: broker.db, clock, logger: pino({ enabled: false }) })
    const one = budget()
    const other = budget()
    clock.advance(MINUTE - ((clock() / 1000) % MINUTE) + second)
    for (let refusals = 0; refusals < REFUSAL_BUDGET; refusals += 1) one.note(instanceId)
    t.notOk(one.hasRoom(instanceId), 'counted before it is written')
    await one.idle()
    await other.follow()
    clock.advance(WINDOW_SECONDS)
    t.notOk(one.hasRoom(instanceId), `at second ${second}: three minutes are not over`)
    t.notOk(other.hasRoom(instanceId), `at second ${second}: nor for another replica`)
    clock.advance(10)
    t.equal(one.spent(instanceId), 0, `at second ${second}: ten seconds later`)
    t.equal(other.spent(instanceId), 0)
  }
})
