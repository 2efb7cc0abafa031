import { once } from 'node:events'
import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

import { afterAll, beforeAll, describe, expect, it } from 'vitest'

import { serviceOfFile, visit } from './support'

const service = serviceOfFile({ feed: ['--classes', '1', '--racers', '20'] })

describe('below a path of a proxy', () => {
  let proxy: Server
  let origin: string

  beforeAll(async () => {
    proxy = createServer((incoming, response) => {
      const path = /^\/race(\/.*)$/.exec(incoming.url ?? '')?.[1]
      if (path === undefined) return response.writeHead(404).end()
      const { method, headers } = incoming
      const passed = request(service.origin + path, { method, headers }, (reply) => {
        response.writeHead(reply.statusCode ?? 502, reply.headers)
        reply.pipe(response)
      })
      passed.on('error', () => response.destroy())
      response.on('close', () => passed.destroy())
      incoming.pipe(passed)
    })
    await once(proxy.listen(0, '127.0.0.1'), 'listening')
    origin = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  })
  afterAll(() => {
    proxy.closeAllConnections()
    proxy.close()
  })

  it('the page and the explorer find all of their files and data', async () => {
    const { page, faults } = await visit({ origin }, '/race/#/explore/1')
    const board = page.locator('.board tbody tr').first()
    await board.waitFor()
    await page.getByRole('link', { name: 'The API' }).click()
    await page.locator('.opblock').first().waitFor()
    expect(page.url()).toBe(`${origin}/race/docs/`)
    await page.goto(`${origin}/race/docs`)
    await page.locator('.opblock').first().waitFor()
    expect(page.url()).toBe(`${origin}/race/docs/`)
    const [operation] = await page
      .locator('.opblock', { hasText: '/classes/{classId}/leaderboard' })
      .all()
    await operation?.click()
    await operation?.getByRole('button', { name: 'Try it out' }).click()
    await operation?.locator('tr[data-param-name="classId"] input').fill('1')
    const responded = page.waitForResponse((response) => response.url().includes('/leaderboard'))
    await operation?.getByRole('button', { name: 'Execute' }).click()
    expect(new URL((await responded).url()).pathname).toBe('/race/classes/1/leaderboard')
    expect(faults).toEqual([])
    await page.context().close()
  })
})
