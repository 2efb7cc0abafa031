import { afterEach, expect, it, vi } from 'vitest'

import { isReady } from './status'

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
