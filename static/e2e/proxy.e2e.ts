import { once } from 'node:events'
import {
  createServer,
  request,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

import { afterEach, expect, it } from 'vitest'

import { settledAs } from './actions'
import { Service, serviceOfFile, visit } from './support'

const service = serviceOfFile({ feed: ['--classes', '1', '--racers', '20'] })

let proxy: Server | undefined
afterEach(() => {
  proxy?.closeAllConnections()
  proxy?.close()
})

/** Starts a proxy of the test. Returns its origin. */
async function listen(listener: RequestListener): Promise<string> {
  proxy = createServer(listener)
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
}

/** Passes a request on to the service. */
function pass(incoming: IncomingMessage, response: ServerResponse, url: string): void {
  const { method, headers } = incoming
  const passed = request(url, { method, headers }, (reply) => {
    response.writeHead(reply.statusCode ?? 502, reply.headers)
    reply.pipe(response)
  })
  passed.on('error', () => response.destroy())
  response.on('close', () => passed.destroy())
  incoming.pipe(passed)
}

it('below a path of a proxy, the page and the explorer find all of their files and data', async () => {
  const origin = await listen((incoming, response) => {
    const path = /^\/race(\/.*)$/.exec(incoming.url ?? '')?.[1]
    if (path === undefined) return response.writeHead(404).end()
    pass(incoming, response, service.origin + path)
  })
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

it('behind a cache whose boards may be some seconds old, the last change is shown', async () => {
  const own = await Service.start()
  const boards = new Map<string, { body: string; atMs: number }>()
  async function load(url: string) {
    const board = { body: await (await fetch(own.origin + url)).text(), atMs: performance.now() }
    boards.set(url, board)
    return board
  }
  /** As `CDN-Cache-Control: max-age=1, stale-while-revalidate=5` allows. */
  async function cached(url: string): Promise<string> {
    const kept = boards.get(url)
    const ageMs = kept ? performance.now() - kept.atMs : Infinity
    if (!kept || ageMs > 6000) return (await load(url)).body
    if (ageMs > 1000) void load(url)
    return kept.body
  }
  const origin = await listen(async (incoming, response) => {
    const { url = '' } = incoming
    if (!url.includes('/leaderboard')) return pass(incoming, response, own.origin + url)
    response.setHeader('content-type', 'application/json')
    response.end(await cached(url))
  })
  try {
    const { page, faults } = await visit({ origin }, '/#/explore/1')
    await page.getByText('0 racers').waitFor()
    const record = { classId: 1, raceId: 1619185620265, racerId: 7, name: 'Ada', second: 60 }
    await own.deliver([{ ...record, cadence: 80, resistance: 78 }])
    await settledAs(page, 'board', own, '/classes/1/leaderboard?second=60&limit=12')
    await page.getByText('1 racer', { exact: true }).waitFor()
    expect(faults).toEqual([])
    await page.context().close()
  } finally {
    await own.stop()
  }
})
