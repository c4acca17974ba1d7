/** What each figure says, and what it does not: the page before the figures. */
export const EXPLANATION = `## How to read this

Server, PostgreSQL and load generator share one machine. So a figure in lookups per second says little beyond that machine: read
the **ratios**, which are taken round by round, between two measurements that follow each other. Each median stands with the least and the most of
its rounds; where these are far apart, the machine was not quiet, and the median is worth less.

| | what is asked for | what it says | what it does not say |
| --- | --- | --- | --- |
| (a) | bare Fastify, static JSON | what HTTP alone costs here | anything about a database |
| (b) | bare Fastify, one prepared select by primary key for each request, ten connections | what a plain service does that reads one row | the least that is possible: (bb) does more with the same hardware |
| (bb) | the same select, coalesced and pipelined by the broker's own code | what the same row costs, read as the broker reads it | what a broker has to do besides: authenticate, authorise, judge, write a lease, open the token, log |
| (bl) | the same, and what each lookup ends with: the lease is written, the token opened with jose, a line logged | what these three cost in the broker's own code; (c)/(bl) tells what the rest of a lookup adds | what rules cost: who may have which token, for how long |
| (c) | \`GET /v1/connections/{id}/credential\` | a whole lookup by id, of every connection in turn, so that few tokens are still open from before | lookups of a few hot connections, which are faster |
| (d) | \`GET /v1/credentials?url=\`, one https URL below each connection in turn, one key for all organizations | what finding by URL adds, when nothing is hot | what a platform sends: (m) |
| (m) | the realistic mix | what a platform of many tenants gets | what your own mix gets: the table of kinds shows how far apart the kinds are |

**The fleet** of (b) to (m): 100,800 connections of 3,000 organizations, one of which has a twentieth of them all. Groups are nested three
levels deep, one connection in 126 has no group, one in 50 shares its group with another. Three GitLabs: gitlab.com, one on a host of its own, one
under a path. Each connection has a token of its own that opens. The table of leases holds a million rows of the day before,
which are sealed and noted for the audit, as an installation at work has done. What is due once a day (reading projects, looking at names)
is spread over the day.

**The mix** is the same on every machine (\`bench/mix.ts\`, by a seed). 300,000 repositories, drawn by Zipf's law: the most popular is 7 % of all lookups, half of the
lookups are for some 500. Keys: 30 % of the lookups come with a key for all organizations and name one, 40 % with the key of one organization and
name none, 15 % with a key for some organizations, 7.5 % each with a key that is limited to connections or to URL prefixes. 6 % are SSH
URLs, 6 % lie on the GitLab under a path, and 1 % are for connections whose token is out: these wait for a refresh at a simulated GitLab, in
the bench's own process, that answers at once.

**What is on**: durability (fsync, synchronous_commit), the log of each request of the broker, into a file. Of bare Fastify (bl) logs alone.
**What went before**: each server answers each kind of request for two seconds, and the mix for eight, since the first seconds after a start
cost twice as much a lookup: the compiler is at work. The access keys and organizations of its first 300,000 lookups are asked for
once before that: a broker that has run for some minutes has them in its memory. \`--quick\` leaves (a) out.
**What is not measured**: the network, TLS, a disk of PostgreSQL's own, a GitLab that takes its time.

- **p99** is that of the load generator, under a load that asks for the next as soon as it has an answer. With 128 and 512 connections it tells how long the
  queue is, and hence mostly the throughput; latency at a load below the limit is what 1 and 32 connections show.
- **Processor time** is what the kernel counted for the process of the server, all of its threads, and for all processes of PostgreSQL,
  divided by the lookups. It does not depend on who else wants the processor, as throughput does: compare this first. The kernel counts in hundredths of a
  second, so one measurement is right to about 1 %.
- **The kinds of the mix**, each alone at 32 connections, without refreshes: no kind hides behind the others.
- **Many at once**: each credential counts, and processor time is that of one credential. \`g/c\` compares credentials per second, \`processor
  time c/g\` what one costs: a batch saves the HTTP of each lookup, and neither the opening of its token nor its lease.
- **Known projects**: ten projects of each connection, as a reading of projects leaves them. (d) asks for the first of them.
- **Growth** asks for every connection at each size, with as many leases in the table: what grows is the database alone. 1,000 connections fit into every
  cache of the processor, and of the broker, which keeps 10,000 tokens open for a minute; a million fit into none. So \`c 1M/1k\` is for the most part
  what opening a token costs, and \`c 1M/100k\`, where neither size fits, what the larger database does.
- **refresh/s** counts lookups that each wait for a refresh, at 64 connections and a GitLab that answers at once and without a limit. No GitLab is like that:
  it tells what the broker and its database spend, not what you will see. \`refresh/b@32\` divides by (b) of the same run, so that two runs can be compared.
- **The storm** has a GitLab that takes 500 requests a second: \`least\` is what that GitLab needs, whatever the broker does.
`
