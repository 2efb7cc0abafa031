// @vitest-environment happy-dom
import { expect, it, vi } from 'vitest'
import { createApp, nextTick } from 'vue'

import { queryKey } from '../api/key'
import KeyForm from './KeyForm.vue'

vi.mock('../state/service', () => ({
  refreshService: async () => {},
  service: { state: 'ready' },
}))

it('a key that no header can have is wrong', async () => {
  const page = document.createElement('div')
  const app = createApp(KeyForm)
  app.mount(page)
  const enter = async (key: string) => {
    const field = page.querySelector('input')!
    field.value = key
    field.dispatchEvent(new Event('input'))
    page.querySelector('form')?.dispatchEvent(new Event('submit'))
    await nextTick()
  }
  await enter('ключ')
  expect(queryKey.value).toBeNull()
  expect(page.querySelector('[role=alert]')?.textContent).toContain('does not take this key')
  await enter('key')
  expect(queryKey.value).toBe('key')
  app.unmount()
})
