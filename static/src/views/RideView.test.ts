// @vitest-environment happy-dom
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, type App } from 'vue'
import { RouterView } from 'vue-router'

import { router } from '../router'
import { loadSource, type BoardSource } from '../state/board-source'
import { outbox, type Delivery } from '../state/outbox'
import { refreshService } from '../state/service'
// The router loads it, too. Here, its time is not that of the first test.
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

it.each<[string, boolean, Partial<Delivery>, boolean]>([
  ['a ride that counts', false, {}, true],
  ['a ride of which a second was rejected', false, { rejected: 1 }, true],
  ['a ride whose seconds were rejected', false, { rejected: 2 }, false],
  ['a refused ride', false, { state: 'refused' }, false],
  ['a practice ride', true, {}, false],
])('the question before %s is left says whether it counts', async (_, auto, delivery, counts) => {
  if (auto) page.querySelector<HTMLInputElement>('[role=switch]')!.click()
  await nextTick()
  page.querySelector<HTMLButtonElement>('.actions button')!.click()
  await vi.advanceTimersByTimeAsync(2100)
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
