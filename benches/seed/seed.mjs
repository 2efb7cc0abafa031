// The pipeline that Alleycat replaces, as AWS' article on "Alleycat" describes it: a transformation adds the
// output, then a processor loads the class's history, compares, and saves it. Here a folder stands for the buckets.
//
//   node seed.mjs FOLDER DELIVERY RUNS
//
// FOLDER holds class-N.gz; DELIVERY is the body of a Firehose delivery. Prints the milliseconds of every run. One record
// of every run is an improvement, as a few are in real batches, so the history is saved every time.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'

export function transform(event) {
  const records = event.records.map((record) => {
    const telemetry = JSON.parse(Buffer.from(record.data, 'base64').toString())
    telemetry.output = ((telemetry.cadence + 35) * (telemetry.resistance + 65)) / 100
    const data = Buffer.from(JSON.stringify(telemetry) + '\n').toString('base64')
    return { recordId: record.recordId, result: 'Ok', data }
  })
  return { records }
}

/** What Firehose delivers to the bucket: the transformed records, one after another. */
export function deliver({ records }) {
  return gzipSync(Buffer.concat(records.map(({ data }) => Buffer.from(data, 'base64'))))
}

export function processObject(folder, object) {
  const lines = gunzipSync(object).toString().split('\n')
  const efforts = lines.filter((line) => line !== '').map((line) => JSON.parse(line))
  for (const classId of new Set(efforts.map((effort) => effort.classId))) {
    const file = `${folder}/class-${classId}.gz`
    const history = JSON.parse(gunzipSync(readFileSync(file)).toString())
    for (const { second, racerId, output } of efforts.filter((effort) => effort.classId === classId)) {
      const racers = (history[second] ??= {})
      if (racers[racerId] === undefined || racers[racerId] < output) {
        racers[racerId] = output
      }
    }
    writeFileSync(file, gzipSync(JSON.stringify(history)))
  }
}

function measure(folder, delivery, runs) {
  const event = JSON.parse(readFileSync(delivery, 'utf8'))
  for (let run = 0; run < Number(runs); run++) {
    const first = JSON.parse(Buffer.from(event.records[0].data, 'base64').toString())
    const improved = JSON.stringify({ ...first, cadence: 160 + run, resistance: 100 })
    event.records[0].data = Buffer.from(improved).toString('base64')
    const began = performance.now()
    processObject(folder, deliver(transform(event)))
    console.log(performance.now() - began)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  measure(...process.argv.slice(2))
}
