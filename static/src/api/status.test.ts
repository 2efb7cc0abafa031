import { afterEach, expect, it, vi } from 'vitest'

import { classes, isReady } from './status'

vi.mock('./key', () => ({ queryKey: { value: null } }))

afterEach(() => {
  vi.unstubAllGlobals()
})

it('a service without a response is away, which is more than not ready', async () => {
  vi.stubGlobal('fetch', async () => new Response('', { status: 200 }))
  expect(await isReady()).toBe(true)
  vi.stubGlobal('fetch', async () => new Response('', { status: 503 }))
  expect(await isReady()).toBe(false)
  vi.stubGlobal('fetch', () => Promise.reject(new TypeError('Failed to fetch')))
  await expect(isReady()).rejects.toMatchObject({ kind: 'away' })
})

it('names the time of the response, where it has one', async () => {
  const headers = { date: 'Mon, 30 Nov 2026 10:00:00 GMT' }
  vi.stubGlobal('fetch', async () => new Response('[]', { headers }))
  expect((await classes()).time).toBe(Date.UTC(2026, 10, 30, 10))
  vi.stubGlobal('fetch', async () => new Response('[]'))
  expect((await classes()).time).toBeNull()
})

it.each(['{}', 'null'])('a response of something else, %s, has no classes', async (body) => {
  vi.stubGlobal('fetch', async () => new Response(body))
  await expect(classes()).rejects.toMatchObject({ kind: 'unready' })
})
