// Runs deliveries through the original's pipeline, as benches/seed/seed.mjs has it, from nothing.
//
//   node original.mjs FOLDER DELIVERY…
//
// FOLDER comes to hold class-1.gz to class-6.gz; a DELIVERY is a file with a data transformation's event.

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
