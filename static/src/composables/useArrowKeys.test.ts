// @vitest-environment happy-dom
import { expect, it } from 'vitest'
import { effectScope, ref } from 'vue'

import { useArrowKeys } from './useArrowKeys'
import type { RaceOnPage } from './useRace'

it.each([
  ['button', 82],
  ['input type=checkbox', 82],
  ['input type=radio', 80],
  ['input type=range', 80],
])('the key ArrowUp on a %s gives a cadence of %i', (tag, cadence) => {
  const race = { racing: ref(true), cadence: ref(80), resistance: ref(40), auto: ref(true) }
  const scope = effectScope()
  scope.run(() => useArrowKeys(race as unknown as RaceOnPage))
  document.body.innerHTML = `<${tag}>`
  document.body.firstElementChild!.dispatchEvent(
    new KeyboardEvent('keydown', { key: 'ArrowUp', bubbles: true }),
  )
  expect(race.cadence.value).toBe(cadence)
  // A key that changes the ride ends “Ride for me”.
  expect(race.auto.value).toBe(cadence === 80)
  scope.stop()
})
