// @vitest-environment happy-dom
import { expect, it } from 'vitest'
import { createApp, ref } from 'vue'

import type { PacerOnPage } from '../../composables/usePacer'
import type { RaceOnPage } from '../../composables/useRace'
import RideReadings from './RideReadings.vue'

/** Returns what is shown of a second and its pacer. */
function show(sample: object | null, state = 'none', gap: number | null = null) {
  const race = { sample: ref(sample), outputNow: ref(120), board: ref(null) }
  const pacer = { state: ref(state), label: ref('Median'), gap: ref(gap) }
  const page = document.createElement('div')
  const app = createApp(RideReadings, {
    race: race as unknown as RaceOnPage,
    pacer: pacer as unknown as PacerOnPage,
  })
  app.mount(page)
  const textOf = (part: string) =>
    page.querySelector(`.${part} dd`)?.textContent.replace(/\s+/g, ' ').trim()
  const shown = { output: textOf('output'), versus: textOf('versus'), pacer: textOf('pacer') }
  app.unmount()
  return shown
}

it.each([
  ['before the first second', null, '120.00', '–'],
  ['at a first best', { output: 200, best: null, record: true }, '200.00', 'First ever'],
  ['above the best', { output: 200, best: 190.5, record: true }, '200.00', 'Record +9.50'],
  ['below the best', { output: 200, best: 210, record: false }, '200.00', '−10.00'],
])('%s it shows the output and the distance from the best', (_, sample, output, versus) => {
  expect(show(sample)).toEqual({ output, versus, pacer: undefined })
})

it.each([
  ['ready', 2, '+2.00output, ahead'],
  ['loading', null, '–'],
  ['empty', null, '–no output in this class'],
  ['failed', null, '–cannot be loaded now'],
])('of a pacer that is %s, with a gap of %s, it shows “%s”', (state, gap, text) => {
  expect(show(null, state, gap).pacer).toBe(text)
})
