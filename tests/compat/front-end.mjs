// Loads a class's history as the original's page does, by the article that describes it: fetches the
// object as bytes, gunzips, parses, and looks up a racer's best by second and racer. Prints
// [second, racerId, output] for the board of every second, the best first.
//
//   node front-end.mjs URL-OR-FILE

import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import zlib from 'node:zlib'

const gunzip = promisify(zlib.gunzip)
const [source] = process.argv.slice(2)

async function load() {
  if (!source.startsWith('http:')) {
    return readFileSync(source)
  }
  const response = await fetch(source)
  if (response.status !== 200 || response.headers.get('content-encoding') !== null) {
    throw new Error(`${response.status} ${response.headers.get('content-encoding')}`)
  }
  return response.arrayBuffer()
}

const buffer = Buffer.from(await load())
const history = JSON.parse((await gunzip(buffer)).toString())
const boards = []
for (let second = 0; second <= 600; second++) {
  const racers = history[second] ?? {}
  const standings = Object.keys(racers).map((racerId) => [second, Number(racerId), racers[racerId]])
  boards.push(...standings.sort(([, oneId, one], [, otherId, other]) => other - one || oneId - otherId))
}
console.log(JSON.stringify(boards))
