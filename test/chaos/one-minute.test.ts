import t from 'tap'
import { runChaos } from './chaos.ts'
import { describe } from './report.ts'

// One minute of trouble; before it the scene is set, and after it everything may take its time to heal.
t.setTimeout(300_000)

t.test(
  'one minute of kills, crashes, storms and cut connections loses nothing that can be kept',
  async (t) => {
    const report = await runChaos({ seconds: 60, seed: 20_260_301 })
    t.comment(describe(report))
    t.strictSame(report.violations, [])

    // A quiet minute would prove nothing.
    t.ok((report.ledger.lookups.get('200') ?? 0) > 100, 'hundreds of lookups got a token')
    t.ok((report.ledger.uses.get('200') ?? 0) > 100, 'GitLab took the tokens')
    t.ok(report.verdict.refreshes > 50, 'tokens were refreshed all the while')
    t.ok(
      report.journal.endings.some(({ how }) => how === 'killed'),
      'brokers were killed',
    )
  },
)
