// @vitest-environment happy-dom
import { afterEach, expect, it, vi } from 'vitest'

import { history, leaderboard, racePage, records, sendRide } from './client'
import { request } from './request'
import { classes } from './status'

afterEach(() => {
  vi.unstubAllGlobals()
})

/** A response that is cut after its first bytes. */
function cut(): Response {
  let isBegun = false
  const body = new ReadableStream({
    pull(stream) {
      if (isBegun) return stream.error(new TypeError('network error'))
      isBegun = true
      stream.enqueue(new TextEncoder().encode('{"standings":'))
    },
  })
  return new Response(body, { headers: { 'content-type': 'application/json' } })
}

it.each<[string, () => Promise<unknown>]>([
  ['a board', () => leaderboard(1, {})],
  ['races', () => racePage(1)],
  ['the classes', () => classes()],
  ['records', () => records(1)],
  ['a history', () => history(1, vi.fn())],
  ['a sent ride', () => sendRide([])],
])('%s whose response is cut after its head is like no response', async (_, load) => {
  vi.stubGlobal('fetch', async () => cut())
  await expect(load()).rejects.toMatchObject({ kind: 'away' })
})

it('a service that requires a key says so in the words of the page', async () => {
  const detail = 'Authorization must be Bearer and a query key'
  vi.stubGlobal('fetch', async () => Response.json({ detail }, { status: 401 }))
  const error = { kind: 'locked', message: 'The service requires a key.' }
  await expect(classes()).rejects.toMatchObject(error)
})

it('a complete response keeps its status and its headers', async () => {
  const link = '</classes/1/races?cursor=A>; rel="next"'
  vi.stubGlobal('fetch', async () => Response.json([], { headers: { link } }))
  expect(await racePage(1)).toEqual({ races: [], next: 'A', previous: null })
})

it('a request ends when its sender aborts it', async () => {
  const hang = (_: unknown, { signal }: { signal: AbortSignal }) =>
    new Promise((_, reject) => signal.addEventListener('abort', reject))
  vi.stubGlobal('fetch', hang)
  const sender = new AbortController()
  const response = request(new Request('http://localhost/racers', { signal: sender.signal }))
  sender.abort()
  await expect(response).rejects.toMatchObject({ kind: 'away' })
})
