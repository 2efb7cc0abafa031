import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

import openapiTS, { astToString } from 'openapi-typescript'
import { expect, it } from 'vitest'

const document = join(import.meta.dirname, '../../../openapi/openapi.json')

it.skipIf(!existsSync(document))(
  'the types are those of openapi/openapi.json; else run `npm run types`',
  async () => {
    const types = astToString(await openapiTS(pathToFileURL(document)))
    const committed = readFileSync(join(import.meta.dirname, 'schema.ts'), 'utf8')
    // The command line puts a notice before the types.
    expect(committed.endsWith(types), 'src/api/schema.ts differs from what is generated').toBe(true)
  },
)
