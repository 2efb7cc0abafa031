// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, type App } from 'vue'

import { search, type Found } from '../api/client'
import { service } from '../state/service.fake'
import { setHidden } from '../test-helpers'
import RacerSearch from './RacerSearch.vue'

vi.mock('../api/client', () => ({ search: vi.fn(), racer: vi.fn() }))
vi.mock('../state/service', () => import('../state/service.fake'))

let app: App
const page = document.createElement('div')
document.body.append(page)

beforeEach(() => {
  vi.useFakeTimers()
  app = createApp(RacerSearch, { label: 'Find' })
  app.mount(page)
})
afterEach(() => {
  app.unmount()
  setHidden(false)
  vi.useRealTimers()
})

function type(text: string): void {
  const field = page.querySelector('input')!
  field.value = text
  field.dispatchEvent(new Event('input', { bubbles: true }))
}

function pressEnter(): void {
  const enter = new KeyboardEvent('keydown', { key: 'Enter', bubbles: true })
  page.querySelector('input')!.dispatchEvent(enter)
}

/** Makes the service find this many racers. */
function findMany(count: number): void {
  const found = Array.from({ length: count }, (_, i) => ({
    racerId: i + 1,
    name: `Ada ${i + 1}`,
  }))
  vi.mocked(search).mockResolvedValue(found as Found[])
}

const message = () => page.querySelector('[role=status]')?.textContent

it('a response to an earlier text is ignored', async () => {
  let respond: (found: Found[]) => void = () => {}
  vi.mocked(search).mockReturnValue(new Promise((resolve) => (respond = resolve)))
  type('Ad')
  await vi.advanceTimersByTimeAsync(300)
  expect(search).toHaveBeenCalledOnce()
  type('Bo')
  respond([{ racerId: 1, name: 'Ada' }] as Found[])
  await vi.advanceTimersByTimeAsync(0)
  expect(message()).toBe('')
})

it('says nothing of a search that was given up for a later text', async () => {
  let fail: (error: Error) => void = () => {}
  vi.mocked(search).mockReturnValue(new Promise((_, reject) => (fail = reject)))
  type('Ad')
  await vi.advanceTimersByTimeAsync(300)
  type('Ada')
  fail(new DOMException('aborted', 'AbortError'))
  await vi.advanceTimersByTimeAsync(0)
  expect(message()).toBe('')
})

it('says how many were found, and who was chosen', async () => {
  findMany(20)
  type('Ada')
  await vi.advanceTimersByTimeAsync(300)
  expect(message()).toBe('The first 8 of 20 found.')
  const options = page.querySelectorAll('[role=option]')
  expect(options).toHaveLength(8)
  options[1]?.dispatchEvent(new Event('click', { bubbles: true }))
  await vi.advanceTimersByTimeAsync(1000)
  expect(message()).toBe('\u2068Ada 2\u2069 is chosen.')
  const other = document.body.appendChild(document.createElement('button'))
  other.addEventListener('keydown', (event) => event.stopPropagation())
  other.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }))
  other.remove()
  await nextTick()
  expect(message()).toBe('')
})

it.each([
  ['Back', () => dispatchEvent(new Event('popstate'))],
  ['a visit to another tab', () => setHidden(true)],
])('the message of a choice goes after %s, which may undo it', async (_, act) => {
  vi.mocked(search).mockResolvedValue([{ racerId: 1, name: 'Ada' }] as Found[])
  type('Ada')
  await vi.advanceTimersByTimeAsync(300)
  page.querySelector('[role=option]')?.dispatchEvent(new Event('click', { bubbles: true }))
  await vi.advanceTimersByTimeAsync(0)
  expect(message()).toContain('is chosen.')
  act()
  await nextTick()
  expect(message()).toBe('')
})

it('a racer of an earlier text cannot be chosen', async () => {
  vi.mocked(search).mockResolvedValue([{ racerId: 1, name: 'Ada' }] as Found[])
  type('Ada')
  await vi.advanceTimersByTimeAsync(300)
  type('Bo')
  page.querySelector('[role=option]')?.dispatchEvent(new Event('click', { bubbles: true }))
  await vi.advanceTimersByTimeAsync(0)
  expect(message()).toBe('1 found.')
})

it('Enter before the list came chooses from the list of that text alone', async () => {
  vi.mocked(search).mockResolvedValue([{ racerId: 1, name: 'Ada' }] as Found[])
  type('Ad')
  pressEnter()
  type('Ada')
  await vi.advanceTimersByTimeAsync(300)
  expect(message()).toBe('1 found.')
  type('Ad')
  pressEnter()
  await vi.advanceTimersByTimeAsync(300)
  expect(message()).toBe('\u2068Ada\u2069 is chosen.')
})

it('Enter repeats a search whose response was cut', async () => {
  vi.mocked(search).mockReset().mockRejectedValueOnce(new TypeError('terminated'))
  vi.mocked(search).mockResolvedValue([{ racerId: 1, name: 'Ada' }] as Found[])
  type('Ada')
  await vi.advanceTimersByTimeAsync(300)
  expect(message()).toBe('The search failed.')
  pressEnter()
  await vi.advanceTimersByTimeAsync(0)
  expect(search).toHaveBeenCalledTimes(2)
  expect(message()).toBe('\u2068Ada\u2069 is chosen.')
})

it('sends no search once the view is left', async () => {
  vi.mocked(search).mockReset()
  type('Ada')
  app.unmount()
  await vi.advanceTimersByTimeAsync(300)
  expect(search).not.toHaveBeenCalled()
})

it('ends the search under way once the view is left', async () => {
  vi.mocked(search)
    .mockReset()
    .mockReturnValue(new Promise(() => {}))
  type('Ada')
  await vi.advanceTimersByTimeAsync(300)
  const signal = vi.mocked(search).mock.calls[0]?.[1]
  expect(signal?.aborted).toBe(false)
  app.unmount()
  expect(signal?.aborted).toBe(true)
})

it('a search that failed is repeated after the next poll, unless a later one succeeded', async () => {
  vi.mocked(search).mockReset().mockRejectedValue(new TypeError('terminated'))
  type('Ada')
  await vi.advanceTimersByTimeAsync(300)
  service.now += 1
  await vi.advanceTimersByTimeAsync(0)
  expect(search).toHaveBeenCalledTimes(2)
  vi.mocked(search).mockResolvedValue([])
  type('Bo')
  await vi.advanceTimersByTimeAsync(300)
  for (let poll = 0; poll < 3; poll++) {
    service.now += 1
    await vi.advanceTimersByTimeAsync(0)
  }
  expect(search).toHaveBeenCalledTimes(3)
})

it('says that more may be found than the service returns', async () => {
  findMany(50)
  type('Ada')
  await vi.advanceTimersByTimeAsync(300)
  expect(message()).toBe('The first 8 of 50 or more found.')
})

it('the list waits while the focus is elsewhere', async () => {
  const field = page.querySelector('input')!
  const isOpen = () => field.getAttribute('aria-expanded') === 'true'
  findMany(2)
  field.focus()
  type('Ada')
  await nextTick()
  field.blur()
  await vi.advanceTimersByTimeAsync(300)
  expect([message(), isOpen()]).toEqual(['2 found.', false])
  field.focus()
  type('Ad')
  await vi.advanceTimersByTimeAsync(300)
  expect(isOpen()).toBe(true)
})
