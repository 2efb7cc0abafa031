// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, type App } from 'vue'

import { racer } from '../api/client'
import { classes } from '../api/status'
import { router } from '../router'
import { lastClass } from '../state/last-class'
import { rider } from '../state/rider'
import { refreshService } from '../state/service'
import { settled } from '../test-helpers'
import StartView from './StartView.vue'

vi.mock('../api/client', () => ({
  leaderboard: vi.fn(async () => ({ standings: [] })),
  racer: vi.fn(),
  sendRide: vi.fn(),
}))
vi.mock('../api/status', () => ({
  classes: vi.fn(async () => ({
    classes: [1, 3].map((classId) => ({ classId, name: `Class ${classId}`, efforts: 0 })),
    time: null,
  })),
  isReady: async () => true,
}))

let app: App
const page = document.createElement('div')
document.body.append(page)

beforeEach(async () => {
  rider.value = { racerId: 17, name: '', guest: false }
  await refreshService()
})
afterEach(() => app.unmount())

function open(): void {
  app = createApp(StartView).use(router)
  app.mount(page)
}

it('a picked class is the one that the links of the page open', async () => {
  vi.mocked(racer).mockResolvedValue(null)
  lastClass.value = 1
  open()
  page.querySelector<HTMLInputElement>('input[name=class][value="3"]')!.click()
  expect(lastClass.value).toBe(3)
})

it('a picked class stays when another tab opens another one', async () => {
  vi.mocked(racer).mockResolvedValue(null)
  lastClass.value = 1
  open()
  const [key, newValue, storageArea] = ['alleycat.class', '3', localStorage]
  dispatchEvent(new StorageEvent('storage', { key, newValue, storageArea }))
  await nextTick()
  expect(page.querySelector<HTMLInputElement>('input[name=class]:checked')?.value).toBe('1')
})

it('nothing is claimed of a number before the service says that it knows it', async () => {
  let respond: (found: Awaited<ReturnType<typeof racer>>) => void = () => {}
  vi.mocked(racer).mockReturnValue(new Promise((resolve) => (respond = resolve)))
  open()
  expect(page.textContent).not.toContain('whose bests')
  respond({ racerId: 17, name: 'Arjun', classes: [] })
  await vi.waitFor(() => expect(page.textContent).toContain('Racer 17, whose bests'))
})

it('what is known of a number is not said of the next one', async () => {
  vi.mocked(racer).mockResolvedValueOnce({ racerId: 17, name: 'Arjun', classes: [] })
  open()
  await vi.waitFor(() => expect(page.textContent).toContain('Racer 17, whose bests'))
  vi.mocked(racer).mockReturnValue(new Promise(() => {}))
  rider.value = { racerId: 18, name: '', guest: false }
  await nextTick()
  expect(page.textContent).toContain('Racer 18')
  expect(page.textContent).not.toContain('whose bests')
})

it('a number is looked up once the service is reachable', async () => {
  vi.mocked(racer).mockReset().mockResolvedValue(null)
  vi.mocked(classes).mockRejectedValueOnce(new Error('away'))
  await refreshService()
  open()
  expect(racer).not.toHaveBeenCalled()
  await refreshService()
  await vi.waitFor(() => expect(page.textContent).toContain('Racer 17. Nobody has ridden'))
})

it('what the service says of an earlier number is not said of the present one', async () => {
  let respond: (found: Awaited<ReturnType<typeof racer>>) => void = () => {}
  vi.mocked(racer)
    .mockReset()
    .mockReturnValueOnce(new Promise((resolve) => (respond = resolve)))
    .mockResolvedValue(null)
  open()
  rider.value = { racerId: 18, name: '', guest: false }
  await nextTick()
  respond({ racerId: 17, name: 'Arjun', classes: [] })
  // All that is on its way comes.
  await settled()
  expect(page.textContent).toContain('Racer 18. Nobody has ridden')
})

it('a number whose look-up failed is looked up again after the next poll', async () => {
  vi.mocked(racer).mockReset().mockRejectedValueOnce(new Error('lost'))
  vi.mocked(racer).mockResolvedValue({ racerId: 17, name: 'Arjun', classes: [] })
  open()
  await vi.waitFor(() => expect(racer).toHaveBeenCalledTimes(1))
  expect(page.textContent).not.toContain('whose bests')
  await refreshService()
  await vi.waitFor(() => expect(page.textContent).toContain('Racer 17, whose bests'))
})
