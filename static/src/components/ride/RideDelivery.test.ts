// @vitest-environment happy-dom
import { afterEach, expect, it, vi } from 'vitest'
import { createApp, nextTick, type App } from 'vue'

import type { OwnRide } from '../../race/own-ride'
import { NEW_DELIVERY, outbox } from '../../state/outbox'
import { isUnstored } from '../../state/own-rides'
import RideDelivery from './RideDelivery.vue'

vi.mock('../../api/client', () => ({ sendRide: vi.fn() }))
const service = vi.hoisted(() => ({ ridesOpen: true }))
vi.mock('../../state/service', async (original) => ({
  ...(await original<typeof import('../../state/service')>()),
  get ridesOpen() {
    return service.ridesOpen
  },
}))
vi.mock('../../state/own-rides', () => ({ isUnstored: vi.fn() }))

let app: App
afterEach(() => {
  app.unmount()
  outbox.deliveries.clear()
  service.ridesOpen = true
})

const WAITING = { ...NEW_DELIVERY, waiting: 2 }

/** Shows what is said about a ride. */
function show(ride: Partial<OwnRide>): HTMLElement {
  const page = document.createElement('div')
  const outputs = [120, 130]
  app = createApp(RideDelivery, {
    ride: { raceId: 1, sent: true, refused: null, outputs, ...ride },
  })
  app.mount(page)
  return page
}

/** Returns the state of a ride of which the outbox knows nothing. */
function stateOf(ride: Partial<OwnRide>): string | undefined {
  return show(ride).querySelector<HTMLElement>('[data-test=sent]')?.dataset.sent
}

it('does not say that a ride is stored before it is known', () => {
  expect(stateOf({ delivered: false })).toBe('unknown')
})

it('says that a delivered ride is stored', () => {
  expect(stateOf({ delivered: true })).toBe('sent')
})

it('says why the service did not take a ride, also after a reload', () => {
  const page = show({ delivered: false, refused: 'the class is full' })
  expect(page.textContent).toMatch(/did not take your ride:\s+the class is full/)
})

it('says that the service took a part of a ride before it refused the rest', () => {
  const page = show({ delivered: false, refused: 'too late', anyTaken: true })
  expect(page.textContent).toMatch(/did not take the rest of your ride:\s+too late/)
})

it('does not say that a ride is stored whose every second was rejected', () => {
  expect(stateOf({ delivered: true, rejected: 1 })).toBe('sent')
  app.unmount()
  expect(stateOf({ delivered: true, rejected: 2 })).toBe('rejected')
})

it.each([
  [true, 'also after a reload'],
  [false, 'keep the page open'],
])('says what becomes of a ride that waits and is stored: %s', (isStored, words) => {
  outbox.deliveries.set(1, { ...WAITING, state: 'retrying', isStored })
  expect(show({}).textContent).toContain(words)
})

it.each([
  [true, 'Another tab of this browser does that.'],
  [false, 'To be sent once the service takes rides'],
])('says who sends what waits, where rides are open: %s', (ridesOpen, words) => {
  outbox.deliveries.set(1, { ...WAITING, state: 'onDevice' })
  service.ridesOpen = ridesOpen
  const page = show({})
  expect(page.textContent).toMatch(/2 seconds wait to be sent\.\s*/)
  expect(page.textContent).toContain(words)
  expect(page.querySelector('button')).toBeNull()
})

it.each([
  [true, true, 'practice'],
  [true, false, 'closed'],
  [false, false, 'closed'],
  [false, true, 'closed'],
])(
  'a ride that is not sent: practice %s, rides open %s, is said to be %s',
  (practice, open, state) => {
    service.ridesOpen = open
    expect(stateOf({ sent: false, practice })).toBe(state)
  },
)

it('does not call a ride rejected while a part of it waits', () => {
  outbox.deliveries.set(1, { ...WAITING, state: 'retrying', rejected: 2 })
  expect(stateOf({ rejected: 2 })).toBe('retrying')
})

it('says that the browser could not keep a result, in a practice ride, too', () => {
  expect(show({ sent: false, practice: true }).textContent).not.toContain('could not keep')
  app.unmount()
  vi.mocked(isUnstored).mockReturnValue(true)
  expect(show({ sent: false, practice: true }).textContent).toContain('could not keep the result')
  vi.mocked(isUnstored).mockReset()
})

it('“Try now” tries, says so, and keeps the focus until it goes', async () => {
  outbox.deliveries.set(1, { ...WAITING, state: 'retrying' })
  const page = show({})
  document.body.append(page)
  const retry = vi.spyOn(outbox, 'retryNow')
  const button = page.querySelector('button')
  button?.focus()
  button?.click()
  await nextTick()
  expect(retry).toHaveBeenCalledOnce()
  expect(page.textContent).toContain('Tried at ')
  expect(document.activeElement).toBe(button)
  outbox.deliveries.set(1, { ...WAITING, state: 'sending' })
  await nextTick()
  expect(page.querySelector('button')).toBeNull()
  expect(document.activeElement).toBe(page.querySelector('[data-test=sent]'))
  page.remove()
})
