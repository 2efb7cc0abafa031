// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp } from 'vue'

import { search, type Found } from '../api/client'
import RacerSearch from './RacerSearch.vue'

vi.mock('../api/client', () => ({ search: vi.fn(), racer: vi.fn() }))

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

it('a response to an earlier text is ignored', async () => {
  let respond: (found: Found[]) => void = () => {}
  vi.mocked(search).mockReturnValue(new Promise((resolve) => (respond = resolve)))
  const page = document.createElement('div')
  document.body.append(page)
  const app = createApp(RacerSearch, { label: 'Find' })
  app.mount(page)
  const field = page.querySelector('input')!
  const type = (text: string) => {
    field.value = text
    field.dispatchEvent(new Event('input', { bubbles: true }))
  }
  type('Ad')
  await vi.advanceTimersByTimeAsync(300)
  expect(search).toHaveBeenCalledOnce()
  type('Bo')
  respond([{ racerId: 1, name: 'Ada' }] as Found[])
  await vi.advanceTimersByTimeAsync(0)
  expect(page.querySelector('[role=status]')?.textContent).toBe('')
  app.unmount()
})
