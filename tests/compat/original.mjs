// Runs deliveries through the original's pipeline (benches/seed/seed.mjs), starting from empty histories.
//
//   node original.mjs FOLDER DELIVERY…
//
// Writes class-1.gz to class-6.gz into FOLDER. A DELIVERY is a file with a data-transformation event.

import { readFileSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'

import { deliver, processObject, transform } from '../../benches/seed/seed.mjs'

const [folder, ...deliveries] = process.argv.slice(2)
for (let classId = 1; classId <= 6; classId++) {
  writeFileSync(`${folder}/class-${classId}.gz`, gzipSync('{}'))
}
for (const delivery of deliveries) {
  processObject(folder, deliver(transform(JSON.parse(readFileSync(delivery, 'utf8')))))
}
