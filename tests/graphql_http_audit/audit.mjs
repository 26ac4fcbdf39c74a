// Runs the audits of the npm package graphql-http against the URL given and prints one JSON
// line each. Development only: the audits send documents that nobody trusts.
import { serverAudits } from 'graphql-http'

for (const audit of serverAudits({ url: process.argv[2], fetchFn: fetch })) {
  const result = await audit.fn()
  console.log(JSON.stringify({ id: audit.id, name: audit.name, status: result.status, reason: result.reason }))
}
