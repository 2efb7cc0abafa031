// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, reactive } from 'vue'

import ServiceNotice from './ServiceNotice.vue'

const service = vi.hoisted(() => ({ state: 'connecting' }))
vi.mock('../state/service', async () => {
  const { reactive } = await import('vue')
  return { service: reactive(service), classOf: () => null }
})

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

it('says for some seconds that the service is back, and asks for no click', async () => {
  const page = document.createElement('div')
  const app = createApp(ServiceNotice)
  app.mount(page)
  const notice = page.querySelector('[role=status]')
  const become = async (state: string) => {
    reactive(service).state = state
    await nextTick()
  }
  await become('ready')
  expect(notice?.textContent).toBe('')
  await become('away')
  expect(notice?.textContent).toContain('The service is away.')
  await become('ready')
  expect(notice?.textContent).toBe('The service is back.')
  expect(page.querySelector('button')).toBeNull()
  await vi.advanceTimersByTimeAsync(4000)
  expect(notice?.textContent).toBe('')
  // Each time for as long.
  for (const wait of [3000, 3000]) {
    await become('away')
    await become('ready')
    await vi.advanceTimersByTimeAsync(wait)
    expect(notice?.textContent).toBe('The service is back.')
  }
  await become('failing')
  expect(notice?.textContent).toContain('The service is not ready.')
  await become('lagging')
  expect(notice?.textContent).toContain('The service is behind.')
  app.unmount()
})
