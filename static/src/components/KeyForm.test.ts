// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, type App } from 'vue'

import { queryKey } from '../api/key'
import { refreshService } from '../state/service'
import { settled } from '../test-helpers'
import KeyForm from './KeyForm.vue'

const service = vi.hoisted(() => ({ state: 'locked' }))
vi.mock('../state/service', () => ({ refreshService: vi.fn(), service }))

let app: App
const before = document.body.appendChild(document.createElement('button'))
const page = document.body.appendChild(document.createElement('div'))
const field = () => page.querySelector('input')!
const alert = () => page.querySelector('[role=alert]')!

function open(over: boolean): void {
  app = createApp(KeyForm, { over })
  app.mount(page)
}

/** Enters a key, and waits until it is known whether the service takes it. */
async function enter(key: string): Promise<void> {
  field().value = key
  field().dispatchEvent(new Event('input'))
  page.querySelector('form')?.dispatchEvent(new Event('submit'))
  await settled()
}

beforeEach(() => {
  queryKey.value = null
  service.state = 'locked'
  vi.mocked(refreshService).mockClear()
  before.focus()
})
afterEach(() => app.unmount())

it('a refused key is selected and announced, also one that no header can have, and each time', async () => {
  open(false)
  expect(alert().textContent.trim()).toBe('')
  let announced: Element | null = null
  for (const key of ['ключ', 'barley', 'barley']) {
    await enter(key)
    expect(alert().textContent).toContain('does not take this key')
    expect(alert().firstElementChild).not.toBe(announced)
    announced = alert().firstElementChild
    expect([field().selectionStart, field().selectionEnd]).toEqual([0, key.length])
  }
  expect(queryKey.value).toBe('barley')
})

it('a key that no header can have is not tried', async () => {
  open(false)
  await enter('ключ')
  expect(queryKey.value).toBeNull()
  expect(refreshService).not.toHaveBeenCalled()
})

it('says at once that the key that the tab kept is refused', () => {
  queryKey.value = 'barley'
  open(false)
  expect(alert().textContent).toContain('does not take this key')
  expect(field().getAttribute('aria-invalid')).toBe('true')
})

it('takes the focus where nothing else is shown', async () => {
  open(false)
  await nextTick()
  expect(document.activeElement).toBe(field())
})

it('leaves the focus where it is over a view, and gives it back after the key', async () => {
  open(true)
  await nextTick()
  expect(document.activeElement).toBe(before)
  field().focus()
  service.state = 'ready'
  await enter('sesame')
  expect(document.activeElement).toBe(before)
})

it('a move of the focus within the form is not where it was before', async () => {
  open(true)
  await nextTick()
  field().focus()
  page.querySelector('button')?.focus()
  service.state = 'ready'
  await enter('sesame')
  expect(document.activeElement).toBe(before)
})
