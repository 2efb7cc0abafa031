// @vitest-environment happy-dom
import { afterEach, expect, it, vi } from 'vitest'
import { createApp, shallowRef } from 'vue'

import type { RaceOnPage } from '../../composables/useRace'
import { NEW_DELIVERY, outbox, type Delivery } from '../../state/outbox'
import SendingNote from './SendingNote.vue'

vi.mock('../../state/service', () => import('../../state/service.fake'))

/** Returns the note's text. Without a delivery, no ride has begun. */
function noteOf(delivery: Partial<Delivery> | null, isUnsent = false): string {
  const race = {
    racing: shallowRef(delivery !== null),
    isUnsent: shallowRef(isUnsent),
    delivery: shallowRef(delivery && { ...NEW_DELIVERY, ...delivery }),
  } as unknown as RaceOnPage
  const page = document.createElement('div')
  const app = createApp(SendingNote, { race })
  app.mount(page)
  const text = page.textContent.trim().replace(/\s+/g, ' ')
  app.unmount()
  return text
}

afterEach(() => {
  outbox.isClosed.value = false
})

it.each([
  [null, 'Your ride will be sent to the service, and will count.'],
  [{ waiting: 1 }, 'Your ride is sent to the service and counts.'],
  [{ state: 'retrying', waiting: 3 }, '3 seconds wait to be sent.'],
  [
    { state: 'retrying', waiting: 1, isStored: false },
    '1 second waits to be sent. This browser cannot store them: keep the page open until they are sent.',
  ],
  [{ rejected: 2 }, 'The service rejects seconds of this ride: 2 so far.'],
  [{ state: 'refused', reason: 'too old' }, 'The service does not take this ride: too old'],
  [
    { state: 'refused', reason: 'too old', anyTaken: true },
    'The service does not take the rest of this ride: too old',
  ],
] as const)('a delivery that is %j says: %s', (delivery, text) => {
  expect(noteOf(delivery)).toBe(text)
})

it('a ride that is not sent is practice, whatever waits of the last one', () => {
  expect(noteOf({ state: 'retrying', waiting: 3 }, true)).toContain('Practice:')
})

it('while the service takes no rides, the note says so beside what waits', () => {
  outbox.isClosed.value = true
  const closed = 'The service takes no rides from the page now.'
  expect(noteOf({ state: 'retrying', waiting: 3 })).toBe(`${closed} 3 seconds wait to be sent.`)
  expect(noteOf(null)).toBe(`${closed} Your ride will wait in this browser until it does.`)
})
