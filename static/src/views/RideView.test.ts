// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, type App } from 'vue'
import { RouterView } from 'vue-router'

import { router } from '../router'
import { loadSource, type BoardSource } from '../state/board-source'
import { outbox, type Delivery } from '../state/outbox'
import { refreshService } from '../state/service'
import { typeAddress } from '../test-helpers'
// Loaded here, so that the first test does not wait for it.
import './RideView.vue'

vi.hoisted(() => (document.documentElement.dataset.rides = 'open'))
vi.mock('../api/status', () => ({
  classes: async () => ({ classes: [{ classId: 1, name: 'Class 1', efforts: 0 }], time: null }),
  isReady: async () => true,
}))
vi.mock('../state/board-source', () => ({ loadSource: vi.fn() }))

let app: App
let page: HTMLElement

beforeEach(async () => {
  vi.useFakeTimers()
  vi.stubGlobal('fetch', () => new Promise(() => {}))
  vi.mocked(loadSource).mockResolvedValue({
    rest: async () => {},
    best: () => null,
    classRecord: () => null,
    board: () => new Promise(() => {}),
  } as unknown as BoardSource)
  await refreshService()
  await router.push('/ride/1')
  page = document.body.appendChild(document.createElement('div'))
  app = createApp(RouterView).use(router)
  app.mount(page)
})
afterEach(() => {
  app.unmount()
  page.remove()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

/** Starts a ride, and rides two seconds. */
async function ride(): Promise<void> {
  page.querySelector<HTMLButtonElement>('.actions button')!.click()
  await vi.advanceTimersByTimeAsync(2100)
}

it('in a ride, a link to its own view changes nothing, and the typed address of an earlier result asks', async () => {
  await ride()
  const address = router.currentRoute.value.fullPath
  expect(address).toMatch(/^\/ride\/1\?ride=\d+$/)
  const confirm = vi.fn(() => false)
  vi.stubGlobal('confirm', confirm)
  await router.push('/ride/1')
  expect(confirm).not.toHaveBeenCalled()
  expect(router.currentRoute.value.fullPath).toBe(address)
  // The router would go back after the refusal, and this test has no earlier page.
  const go = vi.spyOn(history, 'go').mockImplementation(() => {})
  typeAddress('/ride/1?ride=5')
  await vi.advanceTimersByTimeAsync(100)
  expect(confirm).toHaveBeenCalledOnce()
  go.mockRestore()
})

it('after a ride, too, the address of a ride that the device has not kept says so', async () => {
  await ride()
  await vi.advanceTimersByTimeAsync(300_000)
  expect(page.querySelector('[data-test=primary]')?.textContent).toContain('Ride again')
  const missing = 'This device has not kept that ride'
  expect(page.textContent).not.toContain(missing)
  await router.push('/ride/1?ride=5')
  await nextTick()
  expect(page.textContent).toContain(missing)
})

it('the question before a ride is left does not say that it counts where the service has stopped taking rides', async () => {
  await ride()
  outbox.isClosed.value = true
  const confirm = vi.fn(() => false)
  vi.stubGlobal('confirm', confirm)
  await router.push('/')
  expect(confirm).toHaveBeenCalledExactlyOnceWith(
    'You are riding. Do you want to give up this ride?',
  )
  outbox.isClosed.value = false
})

it.each<[string, boolean, Partial<Delivery>, boolean]>([
  ['a ride that counts', false, {}, true],
  ['a ride of which a second was rejected', false, { rejected: 1 }, true],
  ['a ride whose seconds were rejected', false, { rejected: 2 }, false],
  ['a refused ride', false, { state: 'refused' }, false],
  ['a practice ride', true, {}, false],
])('the question before %s is left says whether it counts', async (_, auto, delivery, counts) => {
  if (auto) page.querySelector<HTMLInputElement>('[role=switch]')!.click()
  await nextTick()
  await ride()
  for (const [raceId, sending] of outbox.deliveries) {
    outbox.deliveries.set(raceId, { ...sending, ...delivery })
  }
  const confirm = vi.fn(() => false)
  vi.stubGlobal('confirm', confirm)
  await router.push('/')
  const more = counts ? ' The seconds so far count.' : ''
  expect(confirm).toHaveBeenCalledExactlyOnceWith(
    `You are riding. Do you want to give up this ride?${more}`,
  )
})
