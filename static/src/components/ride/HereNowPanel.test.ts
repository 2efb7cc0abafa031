// @vitest-environment happy-dom
import { afterEach, expect, it, vi } from 'vitest'
import { createApp, effectScope, nextTick } from 'vue'

import { useRace } from '../../composables/useRace'
import { rider } from '../../state/rider'
import HereNowPanel from './HereNowPanel.vue'

vi.mock('../../api/client', () => ({ sendRide: vi.fn() }))
const standings = vi.hoisted(() => [] as object[])
const shown = vi.hoisted(() => ({ race: null as object | null, state: 'loaded' }))
vi.mock('../../composables/useHereNow', async () => {
  const { ref } = await import('vue')
  return {
    useHereNow: () => ({
      race: ref(shown.race),
      standings: ref(standings),
      state: ref(shown.state),
    }),
  }
})
vi.mock('../../state/service', async (original) => ({
  ...(await original<typeof import('../../state/service')>()),
  ridesOpen: true,
}))

let close: () => void
afterEach(() => close())

function show(hasResult: boolean): HTMLElement {
  const page = document.createElement('div')
  const scope = effectScope()
  const race = scope.run(() => useRace(1, vi.fn()))
  const app = createApp(HereNowPanel, { race, classId: 1, hasResult })
  app.mount(page)
  close = () => {
    app.unmount()
    scope.stop()
  }
  return page
}

it.each([
  [false, true],
  [true, false],
])('with a result shown: %s, it says that the ride counts: %s', (hasResult, says) => {
  expect(
    show(hasResult).textContent.includes('Your ride will be sent to the service, and will count.'),
  ).toBe(says)
})

it.each([
  ['at 0:55', 'loaded', 55],
  ['last seen at 0:55', 'failed', 55],
  ['finished', 'failed', 300],
])('says “%s” of a race that is %s, at second %i', (text, state, lastSecond) => {
  const race = { raceId: 1, racers: 2, startedAt: Date.now(), lastSecond }
  Object.assign(shown, { state, race: { ...race, finished: lastSecond === 300 } })
  expect(show(true).querySelector('h2 + p')?.textContent.trim()).toBe(text)
  Object.assign(shown, { race: null, state: 'loaded' })
})

it('marks the rider of the next ride, also after another tab chose another one', async () => {
  standings.push({ racerId: 1, output: 210, rank: 1 }, { racerId: 2, output: 200, rank: 2 })
  rider.value = { racerId: 1, name: 'Ada', guest: false }
  const page = show(true)
  const marked = () => page.querySelector<HTMLElement>('tr.you')?.dataset.racer
  expect(marked()).toBe('1')
  rider.value = { racerId: 2, name: 'Bo', guest: false }
  await nextTick()
  expect(marked()).toBe('2')
  expect(page.querySelectorAll('tbody tr')).toHaveLength(2)
})
